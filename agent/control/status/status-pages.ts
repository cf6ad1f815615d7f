// The status pages as text, in the manner of Weave's: what a person reads on one screen. Pure.
import type { AgedText, IpamFacts, PeerStatus, NodeReport } from '../../../proto/node-report.ts';

/** Rows of `label: value`, the labels right-aligned. */
function labelled(rows: readonly (readonly [label: string, value: string])[]): string {
  const width = Math.max(...rows.map(([label]) => label.length));
  return rows.map(([label, value]) => `${label.padStart(width)}: ${value}\n`).join('');
}

/** Columns as wide as their widest cell; the first row is the head. */
function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? '').length)),
  );
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd();
  return rows.map((row) => `${line(row)}\n`).join('');
}

/** 7s, 3m12s, 5h04m, 2d03h. */
export function formatAge(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const [days, hours, minutes] = [
    Math.floor(whole / 86_400),
    Math.floor(whole / 3600) % 24,
    Math.floor(whole / 60) % 60,
  ];
  const two = (value: number): string => String(value).padStart(2, '0');
  if (days > 0) return `${days}d${two(hours)}h`;
  if (hours > 0) return `${hours}h${two(minutes)}m`;
  if (minutes > 0) return `${minutes}m${two(whole % 60)}s`;
  return `${whole}s`;
}

const ageOr = (seconds: number | undefined, otherwise: string): string =>
  seconds === undefined ? otherwise : formatAge(seconds);

const aged = (text: AgedText): string => `${text.text} (${formatAge(text.ageSeconds)} ago)`;

const formatRoundTrip = (seconds: number | undefined): string =>
  seconds === undefined ? '-' : `${(seconds * 1000).toFixed(3)}ms`;

export function statusPage(facts: NodeReport): string {
  const { node, api, network, ipam, peers, dataplane, roles, repairs, notReady } = facts;
  const drops = Object.entries(facts.drops).sort(([, a], [, b]) => b - a);
  const dropped = drops.reduce((sum, [, count]) => sum + count, 0);
  const worst = drops.slice(0, 3).map(([reason, count]) => `${reason} ${count}`);
  const apiState = api.isConnected
    ? 'connected'
    : `not connected, working from ${api.source === 'snapshot' ? 'the snapshot' : 'the last-known state'}`;
  return labelled([
    ['Version', facts.version],
    ['Node', `${node.name} (${node.uid ?? 'uid not known yet'})`],
    ['Underlay', `${node.address} port ${node.port}, VTEP MAC ${node.vtepMac ?? 'not known yet'}`],
    ['Ready', notReady.length === 0 ? 'yes' : `no: ${notReady.join('; ')}`],
    [
      'API',
      `${apiState}; last heard ${ageOr(api.lastSyncAgeSeconds, 'never')}${api.lastSyncAgeSeconds === undefined ? '' : ' ago'}`,
    ],
    ['Peers', `${peers.length}${peers.length === 0 ? '' : ` (${countStates(peers)})`}`],
    ['Range', `${network.range}, blocks of /${network.blockPrefixLength}`],
    [
      'Bridge',
      `${network.gateway ?? 'no address yet'}, MTU ${network.mtu}, masquerade ${network.masquerade ? 'on' : 'off'}`,
    ],
    [
      'Blocks',
      ipam.ownBlocks.map(({ cidr, state }) => (state === 'held' ? cidr : `${cidr} (${state})`)).join(', ') ||
        'none yet',
    ],
    ['Addresses', `${ipam.used} used, ${ipam.free} free`],
    [
      'Data plane',
      `process ${dataplane.processId}, up ${ageOr(dataplane.upSeconds, '-')}, table ${dataplane.generation}`,
    ],
    [
      'Drops',
      dropped === 0 ? '0' : `${dropped} (${worst.join(', ')}${drops.length > worst.length ? ', …' : ''})`,
    ],
    ['Restarts', roles.map(({ role, restarts }) => `${role} ${restarts}`).join(', ') || '-'],
    ['Repairs', `${repairs.count}${repairs.last === undefined ? '' : `, last: ${aged(repairs.last)}`}`],
    ...facts.problems.map((problem) => ['Problem', problem] as const),
    ...(ipam.logFailure === undefined ? [] : [['Problem', ipam.logFailure] as const]),
    ['Last error', facts.lastError === undefined ? 'none' : aged(facts.lastError)],
  ]);
}

/** Of an agent that cannot start. */
export const refusedPage = (facts: {
  readonly version: string;
  readonly nodeName: string;
  readonly reason: string;
}): string =>
  labelled([
    ['Version', facts.version],
    ['Node', facts.nodeName],
    ['Ready', `no: ${facts.reason}`],
  ]);

function countStates(peers: readonly PeerStatus[]): string {
  const counts = new Map<string, number>();
  for (const { state } of peers) counts.set(state, (counts.get(state) ?? 0) + 1);
  return ['established', 'pending', 'failed']
    .filter((state) => counts.has(state))
    .map((state) => `${counts.get(state)} ${state}`)
    .join(', ');
}

const byName = (peers: readonly PeerStatus[]): readonly PeerStatus[] =>
  peers.toSorted((a, b) => (a.name < b.name ? -1 : 1));

export const peersPage = ({ peers }: NodeReport): string =>
  table([
    ['NAME', 'UNDERLAY', 'VTEP MAC', 'BLOCKS', 'PATH MTU', 'VERSION'],
    ...byName(peers).map((peer) => [
      peer.name,
      `${peer.address}:${peer.port}`,
      peer.vtepMac,
      String(peer.blocks),
      peer.pathMtu === undefined ? '-' : String(peer.pathMtu),
      peer.version,
    ]),
  ]);

/** Those that need a look first. */
export function connectionsPage({ peers }: NodeReport): string {
  const urgency = ['failed', 'pending', 'established'];
  const sorted = byName(peers).toSorted((a, b) => urgency.indexOf(a.state) - urgency.indexOf(b.state));
  return table([
    ['STATE', 'FOR', 'NAME', 'UNDERLAY', 'ROUND TRIP', 'LAST HEARD', 'SENT', 'RECEIVED'],
    ...sorted.map((peer) => [
      peer.state,
      formatAge(peer.sinceSeconds),
      peer.name,
      `${peer.address}:${peer.port}`,
      formatRoundTrip(peer.roundTripSeconds),
      peer.lastHeardSeconds === undefined ? 'never' : `${formatAge(peer.lastHeardSeconds)} ago`,
      String(peer.egressPackets),
      String(peer.ingressPackets),
    ]),
  ]);
}

export function ipamPage({ ipam, network, node }: NodeReport): string {
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
    table([
      ['BLOCK', 'STATE', 'USED'],
      ...ipam.ownBlocks.map(({ cidr, state, used }) => [cidr, state, String(used)]),
    ]),
    '\n',
    table([
      ['NODE', 'BLOCKS', 'SHARE'],
      ...nodes.map(([name, blocks]) => [
        name === node.name ? `${name} (this)` : name,
        String(blocks),
        share(blocks),
      ]),
    ]),
    '\n',
    table([
      ['ADDRESS', 'POD', 'INTERFACE', 'CONTAINER'],
      ...sortedAllocations(ipam).map(({ address, podName, interfaceName, containerId }) => [
        address,
        podName ?? '-',
        interfaceName,
        containerId.slice(0, 13),
      ]),
    ]),
  ].join('');
}

function sortedAllocations({ allocations }: IpamFacts): IpamFacts['allocations'] {
  const key = (address: string): string => address.replaceAll(/\d+/g, (octet) => octet.padStart(3, '0'));
  return allocations.toSorted((a, b) => (key(a.address) < key(b.address) ? -1 : 1));
}
