// A node's report out of what control has: ages and counts, and that a thousand peers take no longer than they must.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { blocksByNode, ipamFacts, ipamReport, peerStatuses } from '../../agent/control/status/node-facts.ts';
import { type ClusterView, createClusterView } from '../../agent/control/cluster/cluster-view.ts';
import type { AddressBlock, Peer } from '../../proto/api-kinds.ts';
import { parseCidr, parseIpv4 } from '../../proto/address-text.ts';

const PEERS = 1000;
const BLOCKS_EACH = 4;
const WALL_MS = Date.parse('2026-11-21T12:00:00Z');
const range = parseCidr('10.32.0.0/12');

/** A view of so many nodes with four blocks each. */
function viewOf(peers: number): ClusterView {
  const keeper = createClusterView({
    nodeName: 'node-0',
    range,
    blockPrefixLength: 26,
    clock: { now: () => 0, setTimer: () => () => undefined },
    defer: (run) => run(),
    onChange: () => undefined,
  });
  const kinds = { apiVersion: 'weft.dev/v1alpha1' } as const;
  const peerOf = (index: number): Peer => ({
    ...kinds,
    kind: 'Peer',
    metadata: { name: `node-${index}`, uid: `p${index}`, creationTimestamp: '2026-11-21T11:00:00Z' },
    spec: {
      nodeUid: `n${index}`,
      addresses: [`192.168.${index >> 8}.${index & 0xff}`],
      port: 6784,
      vtepMac: `0e:00:00:00:${(index >> 8).toString(16).padStart(2, '0')}:${(index & 0xff).toString(16).padStart(2, '0')}`,
      features: ['probe'],
      version: '0.1.0',
    },
  });
  const blockOf = (index: number): AddressBlock => {
    const cidr = `10.${32 + (index >> 10)}.${(index >> 2) & 0xff}.${(index & 3) * 64}/26`;
    return {
      ...kinds,
      kind: 'AddressBlock',
      metadata: { name: cidr.replace('/', '-'), uid: `b${index}`, creationTimestamp: '2026-11-21T11:00:00Z' },
      spec: { cidr, node: `node-${Math.floor(index / BLOCKS_EACH)}`, nodeUid: 'n' },
    };
  };
  const list = <T>(count: number, make: (index: number) => T): T[] =>
    Array.from({ length: count }, (_, index) => make(index));
  keeper.peers.synced(new Map(list(peers, peerOf).map((peer) => [peer.metadata.name, peer])), '1');
  keeper.blocks.synced(
    new Map(list(peers * BLOCKS_EACH, blockOf).map((block) => [block.metadata.name, block])),
    '1',
  );
  return keeper.current();
}

const source = {
  settings: { range, blockPrefixLength: 26, blockQuarantineMs: 600_000 },
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
    ...viewOf(2),
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
    const whole = viewOf(PEERS);
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
