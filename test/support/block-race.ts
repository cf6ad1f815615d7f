// Agents that start at once and claim address blocks until none is left, against whatever API server the world gives them. Each runs the
// agent's own claim steps over a view that lags behind. Invariant, held at every change: no block is usable by two agents.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';

import { createBlockClaims } from '../../agent/control/blocks/block-claims.ts';
import type { NodeIdentity } from '../../agent/control/blocks/own-blocks.ts';
import { formatBlockName } from '../../agent/ipam/block-name.ts';
import { type ClusterApi, resourcePath } from '../../agent/kube/api-client.ts';
import type { HttpClient } from '../../agent/kube/http.ts';
import { type Cidr, formatCidr } from '../../proto/address.ts';
import { decodeAddressBlock } from '../../proto/api-decode.ts';
import { ADDRESS_BLOCKS, API_GROUP_VERSION, type AddressBlock } from '../../proto/api-kinds.ts';
import { QUARANTINE, QUIET, SimulatedPool } from '../unit/claim-fakes.ts';

export type Blocks = ReadonlyMap<string, AddressBlock>;

export interface RaceWorld {
  readonly random: () => number;
  /** Milliseconds. */
  readonly now: () => number;
  readonly pause: (ms: number) => Promise<void>;
  /** The connection of one agent to the API server. */
  readonly connect: (node: NodeIdentity) => Pick<ClusterApi, 'createBlock' | 'getBlock'>;
  /** What an agent hears of the blocks; may be old. */
  readonly hear: () => Promise<Blocks>;
  /** What the API server has now. */
  readonly list: () => Promise<Blocks>;
}

/** Throws when the server gives what the agent would not take. */
export async function listBlocks(http: Pick<HttpClient, 'json'>): Promise<Blocks> {
  const path = resourcePath(ADDRESS_BLOCKS);
  const { items } = (await http.json({ action: 'list blocks', method: 'GET', path })) as { items: object[] }; // as: a list
  return new Map(
    items.map((item) => {
      const block = decodeAddressBlock({ apiVersion: API_GROUP_VERSION, kind: 'AddressBlock', ...item });
      assert.ok(block.ok);
      return [block.value.metadata.name, block.value];
    }),
  );
}

export interface RaceResult {
  /** Requests for a block. */
  readonly creates: number;
  readonly owners: number;
}

interface RaceOptions {
  readonly nodes: readonly NodeIdentity[];
  readonly range: Cidr;
  readonly blockPrefixLength: number;
}

/** 32 hexadecimal digits of its own for each agent. */
export const stateIdOf = (node: string): string => createHash('md5').update(node).digest('hex');

const unexpected = (): never => assert.fail('nothing but blocks is to be asked for');

/** Share of an agent's steps before which it hears of the others' claims. */
const HEARD = 0.5;
const LONGEST_PAUSE_MS = 50;

/** One race to the last block. Throws AssertionError when a block has two owners, or none. */
export async function raceForBlocks(world: RaceWorld, options: RaceOptions): Promise<RaceResult> {
  const { nodes, range, blockPrefixLength } = options;
  const { random, now, pause } = world;
  const count = 2 ** (blockPrefixLength - range.prefixLength);
  /** Block → node that gives out its addresses. */
  const usedBy = new Map<string, string>();
  let creates = 0;

  const agent = async (node: NodeIdentity): Promise<void> => {
    let view: Blocks = new Map();
    const connection = world.connect(node);
    const claims = createBlockClaims({
      node,
      range,
      blockPrefixLength,
      quarantineMs: QUARANTINE,
      quietMs: QUIET,
      api: {
        createBlock: (block) => {
          creates += 1;
          return connection.createBlock(block);
        },
        replaceBlock: unexpected,
        deleteBlock: unexpected,
        getBlock: (name) => connection.getBlock(name),
        getPeer: unexpected,
        getNode: unexpected,
      },
      view: () => ({
        source: 'api',
        blocks: view,
        peers: new Map(),
        freedBlocks: new Map(),
        abandonedBlocks: new Map(),
        nodesWithoutBlock: 0,
      }),
      pool: new RacingPool(node.name, usedBy),
      now,
      random,
      log: { debug: () => undefined, info: () => undefined, warn: () => undefined },
      saved: () => Promise.resolve(true),
    });
    while (usedBy.size < count) {
      if (random() < HEARD) view = await world.hear();
      const delayMs = await claims.step();
      if (delayMs !== 0) await pause(Math.min(delayMs ?? LONGEST_PAUSE_MS, LONGEST_PAUSE_MS));
    }
  };
  await Promise.all(nodes.map(agent));

  const blocks = await world.list();
  assert.equal(blocks.size, count, 'blocks in the API');
  for (const [name, { spec }] of blocks) {
    assert.equal(usedBy.get(name), spec.node, `who uses block ${name}`);
    assert.equal(spec.nodeUid, nodes.find((node) => node.name === spec.node)?.uid);
  }
  return { creates, owners: new Set(usedBy.values()).size };
}

/** Has no pods; what it may give out is held against the others' at once. */
class RacingPool extends SimulatedPool {
  readonly #node: string;
  readonly #usedBy: Map<string, string>;

  constructor(node: string, usedBy: Map<string, string>) {
    super();
    this.#node = node;
    this.#usedBy = usedBy;
  }

  override setBlocks(blocks: readonly Cidr[]): void {
    for (const block of this.blocks) this.#usedBy.delete(formatBlockName(block));
    for (const block of blocks) {
      const other = this.#usedBy.get(formatBlockName(block));
      assert.equal(other, undefined, `${formatCidr(block)} has a second owner, "${this.#node}"`);
      this.#usedBy.set(formatBlockName(block), this.#node);
    }
    super.setBlocks(blocks);
  }
}
