// A node in one screen: whether it is well, what it is and has, the peers that need a look first, the last warnings and errors. The page
// /status and `weft status` are this text. Pure.
import type { NodeReport, PeerStatus, RecentEvent, RefusedReport } from '../../proto/node-report.ts';
import { byUrgency, sortedByUrgency } from './peer-urgency.ts';
import {
  agoOr,
  ageOr,
  counted,
  formatAge,
  formatRoundTrip,
  formatShare,
  labelled,
  orDash,
  printable,
  table,
  wrap,
} from './text.ts';
import { type Fault, faultsOf, formatFault, verdict } from './verdict.ts';

export interface Screen {
  /** Of the terminal: lines are folded there, and wider ones have more columns. Undefined: no line is folded. */
  readonly columns?: number | undefined;
  readonly rows?: number | undefined;
}

const USUAL = { columns: 80, rows: 24 };
const MOST_PEERS = 10;
const FEWEST_PEERS = 3;
const FEWEST_EVENTS = 3;
const DROPS_TOLD = 3;

export function statusScreen(report: NodeReport | RefusedReport, screen: Screen = {}): string {
  const fold = (text: string): string =>
    `${(screen.columns === undefined ? [printable(text)] : wrap(printable(text), screen.columns)).join('\n')}\n`;
  if (!('peers' in report)) {
    return (
      fold(verdict(report)) +
      labelled(
        [
          ['Version', report.version],
          ['Node', report.node.name],
          ['Ready', `no: ${report.notReady.join('; ')}`],
        ],
        screen.columns,
      )
    );
  }
  const faults = faultsOf(report);
  const head = fold(verdict(report, faults)) + labelled(headRows(report, faults), screen.columns);
  const left = (screen.rows ?? USUAL.rows) - linesOf(head);
  const fewest = Math.min(report.recent.length, FEWEST_EVENTS);
  const peers = peersPart(report, { screen, rows: left - 3 - (fewest === 0 ? 0 : fewest + 2) });
  return head + peers + eventsPart(report.recent, { screen, rows: left - linesOf(peers) - 2 });
}

const linesOf = (text: string): number => text.split('\n').length - 1;

function headRows(report: NodeReport, faults: readonly Fault[]): readonly (readonly [string, string])[] {
  const { node, api, network, ipam, peers, dataplane, roles, repairs, notReady } = report;
  const drops = Object.entries(report.drops).sort(([, a], [, b]) => b - a);
  const dropped = drops.reduce((sum, [, count]) => sum + count, 0);
  const worst = drops.slice(0, DROPS_TOLD).map(([reason, count]) => `${reason} ${count}`);
  const apiState = api.isConnected
    ? 'connected'
    : `not connected, working from ${api.source === 'snapshot' ? 'the snapshot' : 'the last-known state'}`;
  const restarts = roles.map(({ role, restarts: count }) => `${role} ${count}`).join(', ');
  return [
    // Those of `notReady` are in a row of their own.
    ...faults.slice(notReady.length).map((fault) => ['Problem', formatFault(fault)] as const),
    ['Version', report.version],
    ['Node', `${node.name} (${node.uid ?? 'uid not known yet'})`],
    ['Underlay', `${node.address} port ${node.port}, VTEP MAC ${node.vtepMac ?? 'not known yet'}`],
    ['Ready', notReady.length === 0 ? 'yes' : `no: ${notReady.join('; ')}`],
    ['API', `${apiState}; last heard ${agoOr(api.lastSyncAgeSeconds, 'never')}`],
    ['Peers', `${peers.length}${peers.length === 0 ? '' : ` (${countStates(peers)})`}`],
    [
      'Range',
      `${network.range}, blocks of /${network.blockPrefixLength}; bridge ${network.gateway ?? 'without an address yet'}, MTU ${network.mtu}, masquerade ${network.masquerade ? 'on' : 'off'}`,
    ],
    ['Blocks', ownBlocks(report)],
    ['Addresses', `${ipam.used} used, ${ipam.free} free; ${counted(ipam.allocations.length, 'attachment')}`],
    [
      'Data plane',
      `process ${dataplane.processId}, up ${ageOr(dataplane.upSeconds, '-')}, table ${dataplane.generation}; restarts: ${restarts || '-'}`,
    ],
    [
      'Drops',
      dropped === 0 ? '0' : `${dropped} (${worst.join(', ')}${drops.length > worst.length ? ', …' : ''})`,
    ],
    [
      'Repairs',
      `${repairs.count}${repairs.last === undefined ? '' : `, last: ${repairs.last.text} (${formatAge(repairs.last.ageSeconds)} ago)`}`,
    ],
  ];
}

const ownBlocks = ({ ipam }: NodeReport): string =>
  ipam.ownBlocks.map(({ cidr, state }) => (state === 'held' ? cidr : `${cidr} (${state})`)).join(', ') ||
  'none yet';

export function countStates(peers: readonly PeerStatus[]): string {
  const counts = new Map<string, number>();
  for (const { state } of peers) counts.set(state, (counts.get(state) ?? 0) + 1);
  return ['established', 'pending', 'failed']
    .filter((state) => counts.has(state))
    .map((state) => `${counts.get(state)} ${state}`)
    .join(', ');
}

type Column = readonly [name: string, cell: (peer: PeerStatus) => string];

const COLUMNS: readonly Column[] = [
  ['PEER', ({ name }) => name],
  ['STATE', ({ state }) => state],
  ['FOR', ({ sinceSeconds }) => formatAge(sinceSeconds)],
  ['RTT', ({ roundTripSeconds }) => formatRoundTrip(roundTripSeconds)],
  ['LOSS', ({ probeLoss }) => formatShare(probeLoss)],
  ['MTU', ({ pathMtu }) => orDash(pathMtu)],
  ['HEARD', ({ lastHeardSeconds }) => agoOr(lastHeardSeconds, 'never')],
];
/** As far as there is room for them. */
const WIDE_COLUMNS: readonly Column[] = [
  ['UNDERLAY', ({ address, port }) => `${address}:${port}`],
  ['BLOCKS', ({ blocks }) => String(blocks)],
  ['VERSION', ({ version }) => version],
  ['SENT', ({ egressPackets }) => String(egressPackets)],
  ['RECEIVED', ({ ingressPackets }) => String(ingressPackets)],
];

interface Part {
  readonly screen: Screen;
  /** That there are left for it; as many lines as it takes at least come all the same. */
  readonly rows: number;
}

function peersPart(report: NodeReport, { screen, rows }: Part): string {
  const { peers } = report;
  if (peers.length === 0) return '';
  const sorted = sortedByUrgency(report);
  const urgent = peers.length - byUrgency(report).well.length;
  const fewest = Math.min(MOST_PEERS, Math.max(urgent, FEWEST_PEERS));
  const shown = sorted.slice(0, Math.min(MOST_PEERS, Math.max(fewest, rows)));
  const render = (columns: readonly Column[]): string =>
    table([columns.map(([name]) => name), ...shown.map((peer) => columns.map(([, cell]) => cell(peer)))]);
  let text = render(COLUMNS);
  for (let more = 1; more <= WIDE_COLUMNS.length; more++) {
    const wider = render([...COLUMNS, ...WIDE_COLUMNS.slice(0, more)]);
    if (Math.max(...wider.split('\n').map((line) => line.length)) > (screen.columns ?? USUAL.columns)) break;
    text = wider;
  }
  return `\n${text}${others(sorted.slice(shown.length))}`;
}

function others(peers: readonly PeerStatus[]): string {
  if (peers.length === 0) return '';
  const trips = peers.map(({ roundTripSeconds }) => roundTripSeconds).filter((trip) => trip !== undefined);
  const range =
    trips.length === 0
      ? ''
      : `, RTT ${formatRoundTrip(minimum(trips))} to ${formatRoundTrip(-minimum(trips.map((trip) => -trip)))}`;
  return `… and ${countStates(peers)}${range}: weft status connections\n`;
}

const minimum = (values: readonly number[]): number =>
  values.reduce((least, value) => Math.min(least, value), Number.POSITIVE_INFINITY);

/** The newest first. */
function eventsPart(recent: readonly RecentEvent[], { screen, rows }: Part): string {
  if (recent.length === 0) return '';
  const lines: string[] = [];
  let told = 0;
  for (const event of recent) {
    const times = event.count > 1 ? `, ${event.count} times` : '';
    const words = printable(
      `${formatAge(event.ageSeconds)} ago${times}: ${event.level === 'error' ? 'error: ' : ''}${event.text}`,
    );
    const folded = screen.columns === undefined ? [words] : wrap(words, screen.columns - 4);
    const block = folded.map((line, at) => `${at === 0 ? '  ' : '    '}${line}`);
    if (told >= FEWEST_EVENTS && lines.length + block.length > rows) break;
    lines.push(...block);
    told += 1;
  }
  const more = recent.length - told;
  return `\nLast warnings and errors${more === 0 ? '' : ` (${more} more: weft status -o yaml)`}:\n${lines.join('\n')}\n`;
}
