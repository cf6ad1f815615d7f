// `weft ping`: round trips to every hop on the way to a node or a pod, so that the first one that does not answer shows where it ends.
import { setTimeout as pause } from 'node:timers/promises';

import { type Ipv4, formatIpv4 } from '../../../proto/address.ts';
import type { ForwardingPeer } from '../../../proto/forwarding-table.ts';
import { OperationError } from '../../operation-error.ts';
import { table } from '../../report/text.ts';
import { type StatsSnapshot, peerRow, readStats } from '../../telemetry/stats-reader.ts';
import type { Command, Invocation } from '../command.ts';
import { type NodeTables, readNodeTables, runDirectoryOf } from '../node-tables.ts';
import { type PacketEnd, findEnd, formatEnd, gatewaysOf } from '../packet-ends.ts';
import { numberFlag } from '../packet-flags.ts';
import { wrongUse } from '../flags.ts';
import { pingVerdict } from '../ping-verdict.ts';
import { type RoundTrips, type Tally, createTally, openRoundTrips, tcpRoundTrips } from '../round-trips.ts';

const USUAL_COUNT = 4;
const USUAL_INTERVAL_SECONDS = 1;
const USUAL_PAYLOAD_BYTES = 56;
/** Data planes ask each other once a second, so that one must have come and gone. */
const LEAST_WATCH_MS = 2200;
/** A peer's blocks that are asked for its bridge's address. */
const MOST_GATEWAYS = 4;

const flags = {
  count: { type: 'string', short: 'c', value: 'N', meaning: `ask each hop N times (${USUAL_COUNT})` },
  interval: {
    type: 'string',
    short: 'i',
    value: 'S',
    meaning: `seconds between two rounds (${USUAL_INTERVAL_SECONDS})`,
  },
  size: {
    type: 'string',
    short: 's',
    value: 'BYTES',
    meaning: `payload of a request (${USUAL_PAYLOAD_BYTES})`,
  },
  port: {
    type: 'string',
    short: 'p',
    value: 'PORT',
    meaning: 'ask the target by a TCP connection to PORT: taken or refused, it is there',
  },
} as const;

export const pingCommand: Command = {
  name: 'ping',
  usage: 'NODE|POD|ADDRESS [flags]',
  summary: 'round trips through the tunnel, hop by hop: underlay, data plane, node, pod',
  help: `Asks each hop on the way to a node or pod, through the path that pods' packets take:
  underlay     the other machine's own address, past the tunnel
  data plane   the other agent's data plane, by the probes that the two exchange
  node         the other node's stack behind its tunnel: the bridge's address
  pod          the pod itself
The first hop that is silent is where to look. A pod of this node is known by name (NAMESPACE/NAME), one elsewhere by its address.
Requests are ICMP echoes where net.ipv4.ping_group_range allows them, else UDP to a closed port, whose refusal is the answer.
Exit code: 0 the target answered, 1 it did not.

  weft ping node-2
  weft ping 10.44.0.7 --port 8080
`,
  flags,
  hearsSignals: () => true,
  run: ping,
};

interface Hop {
  readonly name: string;
  readonly address: Ipv4;
  readonly trips: RoundTrips;
  readonly tally: Tally;
}

async function ping(invocation: Invocation): Promise<number> {
  const { env, positionals, stdout, signal } = invocation;
  const [wanted] = positionals;
  if (wanted === undefined || positionals.length > 1)
    throw wrongUse('Whom to ping? weft ping NODE|POD|ADDRESS');
  const count = numberFlag(invocation.flags, 'count', { least: 1, most: 1e6 }) ?? USUAL_COUNT;
  const interval =
    numberFlag(invocation.flags, 'interval', { least: 0.01, most: 3600, isWhole: false }) ??
    USUAL_INTERVAL_SECONDS;
  const payloadBytes =
    numberFlag(invocation.flags, 'size', { least: 0, most: 65_000 }) ?? USUAL_PAYLOAD_BYTES;
  const port = numberFlag(invocation.flags, 'port', { least: 1, most: 65_535 });
  const tables = await readNodeTables(env);
  const target = findEnd(tables, wanted);
  const peer = 'peer' in target.owner ? target.owner.peer : undefined;
  if (target.owner.kind === 'nobody') throw ofNobody(target);
  const probes = peer === undefined ? undefined : watchProbes(runDirectoryOf(env), peer);
  const hops = await openHops(tables, target, { payloadBytes, port, signal });
  stdout.write(
    `PING ${formatEnd(target)}: ${hops.map(({ name, address, trips }) => `${name} ${formatIpv4(address)} by ${trips.means}`).join(', ')}\n`,
  );
  try {
    for (let round = 1; round <= count && !signal.aborted; round++) {
      if (round > 1) await pause(interval * 1000, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) break;
      const results: string[] = [];
      for (const { name, trips, tally } of hops) {
        const result = await trips.once(signal);
        if (signal.aborted && result === undefined) break; // not lost: not waited for
        tally.add(result);
        results.push(`${name} ${resultWords(result)}`);
      }
      if (results.length > 0) stdout.write(`${round}: ${results.join(', ')}\n`);
    }
    const probed = await probes?.outcome(signal);
    stdout.write(summary(hops, { target, peer, tables, probed }));
  } finally {
    for (const { trips } of hops) trips.close();
  }
  return (hops.at(-1)?.tally.answered ?? 0) > 0 ? 0 : 1;
}

const resultWords = (result: number | string | undefined): string =>
  result === undefined ? 'no answer' : typeof result === 'string' ? result : `${result.toFixed(2)} ms`;

interface HopOptions {
  readonly payloadBytes: number;
  /** The target is asked by TCP. */
  readonly port: number | undefined;
  readonly signal: AbortSignal;
}

async function openHops(tables: NodeTables, target: PacketEnd, options: HopOptions): Promise<readonly Hop[]> {
  const { payloadBytes, port, signal } = options;
  const hop = (name: string, address: Ipv4, trips: RoundTrips): Hop => ({
    name,
    address,
    trips,
    tally: createTally(),
  });
  const open = (address: Ipv4, isLast: boolean): RoundTrips =>
    isLast && port !== undefined ? tcpRoundTrips(address, port) : openRoundTrips(address, { payloadBytes });
  const last = (name: string): Hop => hop(name, target.address, open(target.address, true));
  if (!('peer' in target.owner))
    return [last(target.isNode ? 'node' : target.owner.kind === 'this_node' ? 'pod' : 'host')];
  const { peer } = target.owner;
  const isLast = (address: Ipv4): boolean => target.isNode || address === target.address;
  const gateway = await findGateway(gatewaysOf(tables.table, peer), {
    open: (address) => open(address, isLast(address)),
    signal,
  });
  const underlay = hop('underlay', peer.address, open(peer.address, gateway === undefined));
  const node = gateway && hop('node', gateway.address, gateway.trips);
  const pod = target.isNode || gateway?.address === target.address ? undefined : last('pod');
  return [underlay, node, pod].filter((each) => each !== undefined);
}

/** The bridge of the peer: which of its blocks it got first is not known here, so the first that answers is it. */
async function findGateway(
  candidates: readonly Ipv4[],
  { open, signal }: { readonly open: (address: Ipv4) => RoundTrips; readonly signal: AbortSignal },
): Promise<{ readonly address: Ipv4; readonly trips: RoundTrips } | undefined> {
  const [first] = candidates;
  if (first === undefined) return undefined;
  for (const address of candidates.slice(0, MOST_GATEWAYS)) {
    const trips = open(address);
    if (candidates.length === 1 || typeof (await trips.once(signal)) === 'number') return { address, trips };
    trips.close();
  }
  return { address: first, trips: open(first) };
}

interface ProbeOutcome {
  readonly sent: number;
  readonly answered: number;
  readonly roundTripMs: number;
  readonly pathMtu: number;
}

/** The probes that the data plane sends by itself, counted from now on. Undefined: this peer answers none (a kernel VXLAN device). */
function watchProbes(
  runDirectory: string,
  peer: ForwardingPeer,
): { outcome(signal: AbortSignal): Promise<ProbeOutcome> } | undefined {
  if (!peer.probes) return undefined;
  const read = (): StatsSnapshot | undefined =>
    readStats({ runDirectory, highestSlot: peer.slot, workers: 1 });
  const before = read();
  const sinceMs = performance.now();
  const row = peerRow(peer.slot);
  return {
    async outcome(signal) {
      const leftMs = LEAST_WATCH_MS - (performance.now() - sinceMs);
      if (leftMs > 0) await pause(leftMs, undefined, { signal }).catch(() => undefined);
      const after = read();
      const moved = (counter: 'probes_sent' | 'probes_answered'): number =>
        (after?.counter(row, counter) ?? 0) - (before?.counter(row, counter) ?? 0);
      return {
        sent: moved('probes_sent'),
        answered: moved('probes_answered'),
        roundTripMs: (after?.gauge(row, 'probe_rtt_us') ?? 0) / 1000,
        pathMtu: after?.gauge(row, 'path_mtu') ?? 0,
      };
    },
  };
}

interface Findings {
  readonly target: PacketEnd;
  readonly peer: ForwardingPeer | undefined;
  readonly tables: NodeTables;
  readonly probed: ProbeOutcome | undefined;
}

function summary(hops: readonly Hop[], { target, peer, tables, probed }: Findings): string {
  const lines = hops.map(({ name, address, trips, tally }) => [
    name,
    formatIpv4(address),
    `${tally.words()} (${trips.means})`,
  ]);
  if (peer !== undefined)
    lines.splice(1, 0, ['data plane', `${formatIpv4(peer.address)}:${peer.port}`, probeWords(probed)]);
  const said = pingVerdict(hops, {
    target,
    peer: peer && { name: tables.nameOf(peer), port: peer.port },
    dataplane: probed && probed.answered > 0,
    gateway: tables.table.gateway,
  });
  return `--- ${formatEnd(target)} ---\n${table(lines)}${said}\n`;
}

function probeWords(probed: ProbeOutcome | undefined): string {
  if (probed === undefined) return 'not asked: a kernel VXLAN device answers no probes';
  const trip = probed.answered === 0 ? '' : `, last round trip ${probed.roundTripMs.toFixed(2)} ms`;
  const mtu = probed.pathMtu === 0 ? '' : `, path MTU ${probed.pathMtu}`;
  return `${probed.sent} probes sent, ${probed.answered} answered${trip}${mtu}`;
}

const ofNobody = (target: PacketEnd): OperationError =>
  new OperationError(
    `Cannot ping ${formatIpv4(target.address)}: no node holds the block that it is in, so packets to it are refused (egress_no_owner) and answered with ICMP host-unreachable; is the pod gone?`,
    { code: 'NO_OWNER' },
  );
