// What is wrong with this node, gathered from those who know, in the form of sentences that stay the same while it lasts: for Events, of which
// each agent tells those of its own node only. Pure.
import { type RoleState, pidsOf } from '../role-states.ts';
import type { Connection } from '../telemetry/stats-reader.ts';
import type { OwnBlockState } from './blocks/own-blocks.ts';
import type { ClusterView } from './cluster/cluster-view.ts';
import { problemWords } from './cluster/problem-log.ts';
import type { Trouble } from './trouble.ts';
import { formatBlockName } from '../ipam/block-name.ts';

const DATAPLANE_DOWN: Trouble = {
  code: 'DATAPLANE_DOWN',
  message:
    'No process of the data plane runs, so no packet reaches other nodes: look at the log of the agent for why it ends',
};

const WORKER_MISSING: Trouble = {
  code: 'WORKER_MISSING',
  message:
    'Not all processes of the data plane run, and the flows of those that do not get no packets: look at the log of the agent for why they end',
};

/** `states`: as the keeper has them. */
export function missingWorkers(states: readonly RoleState[]): Trouble | undefined {
  const workers = states.filter(({ role }) => role === 'dataplane').flatMap(pidsOf);
  if (!workers.includes(0)) return undefined;
  return workers.every((pid) => pid === 0) ? DATAPLANE_DOWN : WORKER_MISSING;
}

/** A minute, and half a minute more that differs between agents: when a cluster is cut in two they do not all write at once. */
const SILENT_MS = { least: 60_000, spread: 30_000 };
/** Fewer are those nodes' own trouble: a node that goes in a cluster of a thousand is not worth a thousand Events. */
const SILENT_SHARE = 0.1;
const MOST_NAMES = 3;

/** `random`: of this agent, 0 ≤ x < 1. `nowMs` as the connections have it. */
export function silentPeers(
  connections: readonly Connection[],
  { nowMs, random, port }: { nowMs: number; random: number; port: number },
): Trouble | undefined {
  const leastMs = SILENT_MS.least + random * SILENT_MS.spread;
  const silent = connections.filter(
    ({ state, sinceMs }) => state !== 'established' && nowMs - sinceMs >= leastMs,
  );
  if (silent.length === 0 || silent.length < connections.length * SILENT_SHARE) return undefined;
  const names = silent.map(({ name }) => `"${name}"`).sort();
  const others = names.length > MOST_NAMES ? ' and others' : '';
  const who =
    silent.length === connections.length
      ? 'No other node answers'
      : `Nodes do not answer: ${names.slice(0, MOST_NAMES).join(', ')}${others}`;
  return {
    code: 'PEERS_UNREACHABLE',
    message: `${who}; pods there cannot be reached. Check that the nodes are up and that UDP ${port} is open between the nodes, in both directions`,
  };
}

/** Blocks that are another node's by now, while pods of this one have addresses of them. */
export const fencedBlocks = (blocks: readonly OwnBlockState[]): readonly Trouble[] =>
  blocks
    .filter(({ state, used }) => state === 'fenced' && used > 0)
    .map(({ cidr }) => ({
      code: 'BLOCK_FENCED',
      message: `Block ${formatBlockName(cidr)} is not this node's any more, but pods of this node have addresses of it: delete those pods, so that they get others`,
    }));

/** Both of the two nodes tell it: each sees the other one as the intruder. */
export const collisions = (
  { problems }: Pick<ClusterView, 'problems'>,
  nodeName: string,
): readonly Trouble[] =>
  problems
    .filter(
      ({ kind, text }) => (kind === 'same-address' || kind === 'same-mac') && text.endsWith(`"${nodeName}"`),
    )
    .map((problem) => ({ code: 'PEER_COLLISION', message: problemWords(problem) ?? problem.text }));
