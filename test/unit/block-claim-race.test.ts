import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createBlockClaims } from '../../agent/control/blocks/block-claims.ts';
import { formatCidr, formatIpv4 } from '../../proto/address.ts';
import { parseCidr } from '../../proto/address-text.ts';
import type { AddressBlock } from '../../proto/api-kinds.ts';
import { randomInt, seededRandom, testSeed } from '../support/random.ts';
import { QUARANTINE, QUIET, SimulatedApi, SimulatedPool } from './claim-fakes.ts';

test('64 nodes race for 16 blocks with lagging views: every block has exactly one owner', async (t) => {
  const seed = testSeed();
  t.diagnostic(`seed ${seed}`);
  const random = seededRandom(seed);
  for (let round = 0; round < 20; round++) await race(random);
});

async function race(random: () => number): Promise<void> {
  const time = { now: 0 };
  const api = new SimulatedApi(() => time.now);
  /** Requests on their way: carried out, and answered, in random order. */
  const onTheWay: (() => void)[] = [];
  const travel = (): Promise<void> => new Promise((resolve) => onTheWay.push(resolve));
  const nodes = Array.from({ length: 64 }, (_, number) => {
    const name = `n${number}`;
    const pool = new SimulatedPool();
    let seen: ReadonlyMap<string, AddressBlock> = new Map();
    const claims = createBlockClaims({
      node: { name, uid: `${name}-uid` },
      range: parseCidr('10.32.0.0/22'),
      blockPrefixLength: 26,
      quarantineMs: QUARANTINE,
      quietMs: QUIET,
      api: {
        async createBlock(block) {
          await travel();
          try {
            return await api.createBlock(block);
          } finally {
            await travel();
          }
        },
        deleteBlock: () => Promise.reject(new Error('nothing is to be deleted')),
      },
      view: () => ({ source: 'api', blocks: seen, freedBlocks: new Map() }),
      pool,
      now: () => time.now,
      random,
      log: { info: () => undefined, warn: () => undefined },
    });
    return { name, pool, claims, refresh: () => (seen = new Map(api.objects)), running: false, dueAt: 0 };
  });
  const allOwnersAgree = (): void => {
    const holders = new Map<string, string>();
    for (const { name, pool } of nodes) {
      for (const block of pool.blocks) {
        assert.equal(holders.get(formatCidr(block)), undefined, `${formatCidr(block)} has two owners`);
        holders.set(formatCidr(block), name);
        assert.equal(api.objects.get(formatCidr(block).replace('/', '-'))?.spec.node, name);
      }
    }
  };
  for (let turn = 0; turn < 4000 && (api.objects.size < 16 || onTheWay.length > 0); turn++) {
    time.now += 1;
    const node = nodes[randomInt(random, nodes.length)]!;
    if (random() < 0.3) node.refresh();
    if (!node.running && node.dueAt <= time.now) {
      node.running = true;
      void node.claims.step().then((delay) => {
        node.running = false;
        node.dueAt = time.now + (delay ?? 50);
      });
    }
    if (onTheWay.length > 0 && random() < 0.7) onTheWay.splice(randomInt(random, onTheWay.length), 1)[0]!();
    await new Promise(setImmediate);
    allOwnersAgree();
  }
  assert.equal(api.objects.size, 16, 'every block was claimed');
  const held = nodes.flatMap(({ pool }) => pool.blocks.map((block) => formatIpv4(block.base)));
  assert.equal(new Set(held).size, 16);
  assert.ok(api.writes.length < 64 * 8, `${api.writes.length} writes`);
}
