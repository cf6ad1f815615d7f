// What control knows of a large cluster: so many nodes with four blocks each, node-0 being this one.
import { type ClusterView, createClusterView } from '../../agent/control/cluster/cluster-view.ts';
import type { Cidr } from '../../proto/address.ts';
import { parseCidr } from '../../proto/address-text.ts';
import type { AddressBlock, Peer } from '../../proto/api-kinds.ts';

export const RANGE: Cidr = parseCidr('10.32.0.0/12');
export const BLOCKS_EACH = 4;

/** A view of so many nodes with four blocks each. */
export function largeView(peers: number): ClusterView {
  const keeper = createClusterView({
    nodeName: 'node-0',
    range: RANGE,
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
