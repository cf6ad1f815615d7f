// Mechanisms of the agent, each taken out of force by what it stands on: storage, boot id, settings, log decoder, view. The simulator has to
// notice each; what it notices by is named.
import type { ClusterView, ClusterViewKeeper } from '../../agent/control/cluster/cluster-view.ts';
import { type LogContent, type LogEntry, decodeLog } from '../../agent/ipam/log-record.ts';
import type { Settings } from '../../agent/settings.ts';
import type { AddressBlock } from '../../proto/api-kinds.ts';
import type { InvariantName } from './invariants.ts';
import { REAL_WIRING } from './simulated-agent.ts';
import type { SimulationOptions } from './simulation.ts';

export interface Mutation {
  readonly name: string;
  readonly options: Partial<SimulationOptions>;
  /** One of them breaks first. */
  readonly breaks: readonly InvariantName[];
}

/** Every sequence is lost when the log is read. */
function withoutSequences(bytes: Uint8Array): LogContent {
  const content = decodeLog(bytes);
  const lost = (entry: LogEntry): LogEntry =>
    entry.kind === 'release' ? { ...entry, sequence: 0, allocation: 0 } : { ...entry, sequence: 0 };
  return { ...content, entries: content.entries.map(lost) };
}

/** A block that was this node's once is never shown as another's. */
function withoutContested(keeper: ClusterViewKeeper, { nodeName }: Settings): ClusterViewKeeper {
  const own = new Map<string, AddressBlock['spec']>();
  let last: { readonly of: ClusterView; readonly shown: ClusterView } | undefined;
  const shown = (view: ClusterView): ClusterView => {
    for (const [name, { spec }] of view.blocks) if (spec.node === nodeName) own.set(name, spec);
    const blocks = [...view.blocks].map(
      ([name, block]) => [name, { ...block, spec: own.get(name) ?? block.spec }] as const,
    );
    return { ...view, blocks: new Map(blocks) };
  };
  return {
    ...keeper,
    current() {
      const view = keeper.current();
      if (last?.of !== view) last = { of: view, shown: shown(view) };
      return last.shown;
    },
  };
}

export const MUTATIONS: readonly Mutation[] = [
  {
    name: 'fsync: a write counts before it is durable',
    options: { syncs: false },
    breaks: ['written ahead'],
  },
  { name: 'boot id: always the same', options: { bootId: () => 'boot' }, breaks: ['void after a reboot'] },
  {
    name: 'quarantine: none',
    options: { quarantineSeconds: 0 },
    breaks: ['block claimed over living pods', 'one owner per address', 'address in own block'],
  },
  {
    name: 'sequence: lost when the log is read',
    options: { wiring: { ...REAL_WIRING, decodeLog: withoutSequences } },
    breaks: ['sequence used twice'],
  },
  {
    name: 'fencing: a lost block is not seen to be lost',
    options: { wiring: { ...REAL_WIRING, view: withoutContested } },
    // An agent that starts asks for its blocks one by one, and so gives out nothing of such a one, but never lets go of it either.
    breaks: ['address in own block', 'one owner per address', 'no leak'],
  },
];
