// The parts of a node's report as tables: peers, connections, blocks and addresses, attachments. The pages /status/… and the subcommands
// of `weft status` are these. Names of columns are one word each and stay as they are: scripts read them. Pure.
import type { IpamFacts, NodeReport } from '../../proto/node-report.ts';
import { sortedByName, sortedByUrgency } from './peer-urgency.ts';
import {
  type TableOptions,
  ageOr,
  agoOr,
  formatAge,
  formatRoundTrip,
  formatShare,
  labelled,
  orDash,
  table,
} from './text.ts';

export const peersTable = ({ peers }: NodeReport, options?: TableOptions): string =>
  table(
    [
      ['NAME', 'UNDERLAY', 'VTEP-MAC', 'BLOCKS', 'MTU', 'VERSION'],
      ...sortedByName(peers).map((peer) => [
        peer.name,
        `${peer.address}:${peer.port}`,
        peer.vtepMac,
        String(peer.blocks),
        orDash(peer.pathMtu),
        peer.version || '-',
      ]),
    ],
    options,
  );

/** Those that need a look first. */
export const connectionsTable = (report: NodeReport, options?: TableOptions): string =>
  table(
    [
      ['STATE', 'FOR', 'NAME', 'UNDERLAY', 'RTT', 'LOSS', 'MTU', 'HEARD', 'SENT', 'RECEIVED'],
      ...sortedByUrgency(report).map((peer) => [
        peer.state,
        formatAge(peer.sinceSeconds),
        peer.name,
        `${peer.address}:${peer.port}`,
        formatRoundTrip(peer.roundTripSeconds),
        formatShare(peer.probeLoss),
        orDash(peer.pathMtu),
        agoOr(peer.lastHeardSeconds, 'never'),
        String(peer.egressPackets),
        String(peer.ingressPackets),
      ]),
    ],
    options,
  );

export const attachmentsTable = ({ ipam }: NodeReport, options?: TableOptions): string =>
  table(
    [
      ['ADDRESS', 'POD', 'INTERFACE', 'CONTAINER', 'HOST-INTERFACE', 'AGE'],
      ...sortedAllocations(ipam).map((allocation) => [
        allocation.address,
        allocation.podName ?? '-',
        allocation.interfaceName,
        allocation.containerId.slice(0, CONTAINER_DIGITS),
        allocation.hostInterface,
        ageOr(allocation.sinceSeconds, '-'),
      ]),
    ],
    options,
  );

export function ipamTables(report: NodeReport, options?: TableOptions): string {
  const { ipam, network, node } = report;
  const size = 2 ** (32 - network.blockPrefixLength);
  const held = Object.values(ipam.blocksByNode).reduce((sum, count) => sum + count, 0);
  const share = (blocks: number): string => `${((100 * blocks) / ipam.rangeBlocks).toFixed(1)}%`;
  const nodes = Object.entries(ipam.blocksByNode).sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1));
  return [
    labelled([
      ['Range', `${network.range}: ${ipam.rangeBlocks} blocks of ${size} addresses`],
      [
        'Held',
        `${held} blocks (${share(held)}) by ${nodes.length} nodes, ${ipam.quarantinedBlocks} in quarantine`,
      ],
      ['This node', `${ipam.used} of ${ipam.total} addresses used, ${ipam.free} free`],
      ...(ipam.logFailure === undefined ? [] : [['Problem', ipam.logFailure] as const]),
    ]),
    '\n',
    table(
      [
        ['BLOCK', 'STATE', 'USED'],
        ...ipam.ownBlocks.map(({ cidr, state, used }) => [cidr, state, String(used)]),
      ],
      options,
    ),
    '\n',
    table(
      [
        ['NODE', 'BLOCKS', 'SHARE'],
        ...nodes.map(([name, blocks]) => [
          name === node.name ? `${name} (this)` : name,
          String(blocks),
          share(blocks),
        ]),
      ],
      options,
    ),
    '\n',
    attachmentsTable(report, options),
  ].join('');
}

/** Of an id as people know it from their runtime. */
const CONTAINER_DIGITS = 13;

/** In the order of their addresses. */
export function sortedAllocations({ allocations }: Pick<IpamFacts, 'allocations'>): IpamFacts['allocations'] {
  const key = (address: string): string => address.replaceAll(/\d+/g, (octet) => octet.padStart(3, '0'));
  return allocations.toSorted((a, b) => (key(a.address) < key(b.address) ? -1 : 1));
}
