// A node's report out of what control has: ages and counts, and that a thousand peers take no longer than they must.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { blocksByNode, ipamFacts, ipamReport, peerStatuses } from '../../agent/control/status/node-facts.ts';
import type { ClusterView } from '../../agent/control/cluster/cluster-view.ts';
import { parseIpv4 } from '../../proto/address-text.ts';
import { BLOCKS_EACH, RANGE, largeView } from '../support/large-view.ts';

const PEERS = 1000;
const WALL_MS = Date.parse('2026-11-21T12:00:00Z');

const source = {
  settings: { range: RANGE, blockPrefixLength: 26, blockQuarantineMs: 600_000 },
  pool: {
    usage: () => ({ blocks: 4, total: 255, used: 2, free: 253 }),
    list: () => [
      {
        containerId: 'c1',
        interfaceName: 'eth0',
        netnsInode: 1,
        address: parseIpv4('10.32.0.2'),
        sequence: 1,
        hostInterface: 'vethwe1',
        atMs: WALL_MS - 90_500.25,
      },
      {
        containerId: 'c2',
        interfaceName: 'eth0',
        netnsInode: 0,
        address: parseIpv4('10.32.0.3'),
        sequence: 2,
        hostInterface: 'vethwe2',
      },
    ],
    freed: () => [
      { address: parseIpv4('10.32.0.4'), atMs: WALL_MS + 5000 }, // the clock was set back since
      { address: parseIpv4('10.32.0.5') },
    ],
    logFailure: () => undefined,
  },
  link: { claims: () => undefined, serviceRanges: () => ['10.96.0.0/12'] },
  viewMs: 1_000_000,
  wallMs: WALL_MS,
};

describe('ipamReport and ipamFacts', () => {
  const view: ClusterView = {
    ...largeView(2),
    freedBlocks: new Map([
      ['10.40.0.0-26', 900_000],
      ['10.40.0.64-26', 100_000],
    ]),
    abandonedBlocks: new Map([['10.32.1.0-26', 925_000]]),
  };

  it('tell since when, in seconds; what is not known is undefined, and no age is below 0', () => {
    const report = ipamReport({ ...source, view });
    assert.deepEqual(report.blocks[0], {
      cidr: '10.32.0.0/26',
      node: 'node-0',
      sinceSeconds: 3600,
      abandonedSeconds: undefined,
    });
    assert.equal(report.blocks.find(({ cidr }) => cidr === '10.32.1.0/26')?.abandonedSeconds, 75);
    assert.deepEqual(report.quarantined, [
      { cidr: '10.40.0.0/26', freedSeconds: 100, claimableInSeconds: 500 },
      { cidr: '10.40.0.64/26', freedSeconds: 900, claimableInSeconds: 0 },
    ]);
    assert.deepEqual(report.freed, [
      { address: '10.32.0.4', sinceSeconds: 0 },
      { address: '10.32.0.5', sinceSeconds: undefined },
    ]);
    assert.deepEqual(
      ipamFacts({ ...source, view }).allocations.map(({ sinceSeconds }) => sinceSeconds),
      [90.5, undefined],
    );
  });

  it('count as in quarantine what no node may claim yet', () => {
    assert.equal(ipamFacts({ ...source, view }).quarantinedBlocks, 1);
  });
});

describe('peerStatuses', () => {
  it(`looks at the blocks once for all of ${PEERS} peers`, () => {
    let looks = 0;
    class Counted extends Map<string, never> {
      override values(): ReturnType<Map<string, never>['values']> {
        looks += 1;
        return super.values();
      }
    }
    const whole = largeView(PEERS);
    const view = { ...whole, held: new Counted(whole.held as Map<string, never>) }; // as: the values are not looked into
    const connections = [...view.reachable].map(([name, { slot }]) => ({
      name,
      slot,
      state: 'established' as const,
      sinceMs: 1000,
      roundTripSeconds: undefined,
      pathMtu: undefined,
      lastHeardMs: 0,
    }));
    const peers = peerStatuses({
      view,
      connections,
      probeLoss: () => 0,
      snapshot: undefined,
      nowMs: 1_000_123.75,
    });
    assert.equal(peers.length, PEERS - 1);
    assert.ok(peers.every(({ blocks, sinceSeconds }) => blocks === BLOCKS_EACH && sinceSeconds === 999.124));
    assert.equal(looks, 1);
    assert.equal(blocksByNode(view).size, PEERS);
    assert.equal(looks, 1, 'and once for each view');
  });
});
