// When the node's network is looked at, and what of it is told. The network itself is a fake.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { MOST_REPAIRS } from '../../agent/control/node/contest.ts';
import type { NetworkHints } from '../../agent/control/node/node-network.ts';
import { createNodeUpkeep, type NodeUpkeep } from '../../agent/control/node/node-upkeep.ts';
import { SETTLE_MS } from '../../agent/control/node/sweep-pace.ts';
import { repairsOf, textsOf } from '../../agent/control/repair.ts';
import { OperationError } from '../../agent/operation-error.ts';
import type { Logger } from '../../agent/telemetry/logger.ts';
import { parseCidr, parseIpv4 } from '../../proto/address-text.ts';
import { FakeClock } from './kube-fakes.ts';

interface Stand {
  readonly clock: FakeClock;
  readonly upkeep: NodeUpkeep;
  /** Of each look. */
  readonly hints: NetworkHints[];
  /** What the next looks find. */
  readonly finds: (readonly string[] | Error)[];
  readonly events: string[];
  readonly repaired: string[];
}

const SWEEP_MS = 10_000;
const ROUTE = { author: { portId: 77 }, rules: false };
const RULE = { author: { portId: 77, program: 'nft' }, rules: true };

async function stand(): Promise<Stand> {
  const clock = new FakeClock();
  const hints: NetworkHints[] = [];
  const finds: (readonly string[] | Error)[] = [['made bridge "weave"']];
  const events: string[] = [];
  const repaired: string[] = [];
  const tell = (event: string, message: string): void => void events.push(`${event}: ${message}`);
  const upkeep = createNodeUpkeep({
    settings: {
      range: parseCidr('10.32.0.0/12'),
      blockPrefixLength: 26,
      vni: 1 as never, // as: nothing is published
      port: 6784,
      masquerade: true,
    },
    nodeIp: parseIpv4('172.31.0.11'),
    mtu: () => 1450,
    network: {
      ensure: async (_desired, given = {}) => {
        hints.push(given);
        const found = finds.shift() ?? [];
        if (found instanceof Error) throw found;
        return repairsOf('route', found);
      },
      expected: () => undefined,
      close: () => undefined,
    },
    publisher: { publish: () => assert.fail('there is no identity yet') },
    identity: () => undefined,
    blocks: () => [parseCidr('10.32.0.0/26')],
    view: () => ({ reachable: new Map(), problems: [] }) as never, // as: all that is looked at
    hold: () => undefined,
    pods: () => [],
    clock,
    cpuTimeMs: () => 0,
    random: () => 0.5,
    log: { info: tell, warn: tell, error: tell, debug: tell } as unknown as Logger, // as: all that is used
    repaired: (repairs) => void repaired.push(...textsOf(repairs)),
    failed: () => undefined,
    done: () => undefined,
  });
  upkeep.changed();
  await clock.advance(0);
  return { clock, upkeep, hints, finds, events, repaired };
}

test('a disturbance is looked at soon; what is put right is counted and told, what was made first is no repair', async () => {
  const { clock, upkeep, hints, finds, events, repaired } = await stand();
  assert.deepEqual(repaired, []);
  finds.push(['set route 10.32.0.0/12 via "weft0"']);
  upkeep.disturbed(ROUTE);
  await clock.advance(SETTLE_MS);
  assert.equal(hints.length, 2);
  assert.deepEqual(repaired, ['set route 10.32.0.0/12 via "weft0"']);
  assert.match(events.at(-1) ?? '', /^network_repaired: .*10\.32\.0\.0\/12/);
  await clock.advance(SWEEP_MS);
  assert.equal(hints.length, 3, 'and without one after ten seconds');
  upkeep.stop();
});

test('the rules are looked at when the kernel tells of them, after a failure, and in the sweep', async () => {
  const { clock, upkeep, hints, finds } = await stand();
  const lastUntouched = (): boolean | undefined => hints.at(-1)?.rulesUntouched;
  assert.equal(lastUntouched(), false);
  upkeep.disturbed(ROUTE);
  await clock.advance(SETTLE_MS);
  assert.equal(lastUntouched(), true);
  upkeep.disturbed(RULE);
  upkeep.disturbed(ROUTE);
  await clock.advance(SETTLE_MS);
  assert.equal(lastUntouched(), false);
  finds.push(new OperationError('Cannot change interface "weave" (ENODEV)', { code: 'ENODEV' }));
  upkeep.disturbed(ROUTE);
  await clock.advance(SETTLE_MS);
  assert.equal(upkeep.blocked(), 'Cannot change interface "weave" (ENODEV)');
  upkeep.disturbed(ROUTE);
  await clock.advance(SETTLE_MS);
  assert.equal(upkeep.blocked(), undefined, 'a disturbance does not wait for the end of the pause');
  assert.equal(lastUntouched(), false);
  await clock.advance(SWEEP_MS);
  assert.equal(lastUntouched(), false);
  upkeep.stop();
});

test('a contest is told once, with who it may be', async () => {
  const { clock, upkeep, finds, events, repaired } = await stand();
  for (let round = 0; round < 2 * MOST_REPAIRS; round += 1) {
    finds.push(['set route 10.32.0.0/12 via "weft0"']);
    upkeep.disturbed(RULE);
    await clock.advance(SETTLE_MS);
  }
  assert.equal(repaired.length, 2 * MOST_REPAIRS);
  const told = events.filter((text) => text.startsWith('network_contested'));
  assert.equal(told.length, 1);
  assert.match(told[0] ?? '', /"nft" with process id 77/);
  upkeep.stop();
});

test('a failure is told once, what is not listed with where to look, and its end', async () => {
  const { clock, upkeep, finds, events } = await stand();
  events.length = 0;
  const failure = new OperationError('Cannot change interface "weave" (ENODEV)', { code: 'ENODEV' });
  finds.push(failure, failure, failure, failure);
  upkeep.changed();
  await clock.advance(20_000);
  assert.deepEqual(events, [
    'network_failed: Cannot change interface "weave" (ENODEV); it is tried again: look what `weft doctor` finds on this node',
    "network_recovered: The node's network is as it should be again",
  ]);
  upkeep.stop();
});

test('a contest is a trouble for as long as it lasts; its repairs are told no more, its end is', async () => {
  const { clock, upkeep, finds, events } = await stand();
  const disturb = async (): Promise<void> => {
    finds.push(['set route 10.32.0.0/12 via "weft0"']);
    upkeep.disturbed(ROUTE);
    await clock.advance(SETTLE_MS);
  };
  for (let count = 0; count < MOST_REPAIRS; count++) await disturb();
  assert.deepEqual(
    upkeep.troubles().map(({ code }) => code),
    ['NETWORK_CONTESTED'],
  );
  await clock.advance(620_000);
  assert.deepEqual(upkeep.troubles(), []);
  assert.match(events.at(-1) ?? '', /^network_contest_ended: /);
  upkeep.stop();
});
