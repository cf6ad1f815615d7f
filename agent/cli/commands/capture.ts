// `weft capture`: copies of packets at the places of the data plane that decide on them, as lines or as a pcapng file.
import { setPriority } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';

import { formatIpv4, ipv4 } from '../../../proto/address.ts';
import { parseCidr } from '../../../proto/address-text.ts';
import { CAPTURE_POINTS, type CaptureFilter } from '../../../proto/capture-filter.ts';
import { FIRST_PEER_ROW } from '../../../proto/dataplane-stats.ts';
import { DROP_REASONS, FIREWALL_REASONS, type FirewallReason } from '../../../proto/drop-reason.ts';
import { IP_PROTOCOL_TCP, IP_PROTOCOL_UDP } from '../../../proto/ipv4-packet.ts';
import { OperationError } from '../../operation-error.ts';
import { settingOf } from '../../setting-table.ts';
import { VERSION } from '../../version.ts';
import type { CaptureSurroundings } from '../../wire/capture-output.ts';
import { askReport } from '../agent-client.ts';
import { type CaptureFiles, openCaptureFiles } from '../capture-files.ts';
import { type CaptureSink, openSink, pathOf } from '../capture-sink.ts';
import type { Command, Invocation, Output } from '../command.ts';
import { monotonicMs as nowMs } from '../../linux/monotonic-clock.ts';
import { type NodeTables, addressIn, readNodeTables, runDirectoryOf } from '../node-tables.ts';
import { numberFlag, protocolFlag, textFlag } from '../packet-flags.ts';
import { wrongUse } from '../flags.ts';

const USUAL_SNAP_LENGTH = 256;
/** The largest datagram's payload. */
const WHOLE = 65_535;
const PACKETS_AT_ONCE = 2048;
const BUSY_MS = 5;
const IDLE_MS = 40;
/** A worker looks for captures once a second. */
const START_MS = 3000;
/** It has gone, or sleeps: then nothing is captured. */
const SILENT_MS = 4000;
/** Behind the agent, so that reading never takes the processor from the packets. */
const NICENESS = 10;
const TWO_TO_20_SECONDS = 1_048_576;

const flags = {
  inner: { type: 'boolean', meaning: 'packets of pods, without the tunnel around them' },
  outer: { type: 'boolean', meaning: 'datagrams of the tunnel, probes between the data planes included' },
  dropped: { type: 'boolean', meaning: 'packets that the data plane refused, with the reason' },
  peer: {
    type: 'string',
    value: 'NODE',
    meaning: 'to and from this node only: its name or underlay address',
  },
  host: {
    type: 'string',
    value: 'ADDRESS',
    meaning: "with this inner source or destination, or of this node's tunnel; ADDRESS/LENGTH for a prefix",
  },
  port: { type: 'string', value: 'PORT', meaning: 'with this TCP or UDP port inside, source or destination' },
  protocol: {
    type: 'string',
    value: 'tcp|udp|icmp',
    meaning: 'with this protocol inside; a number for another',
  },
  reason: { type: 'string', value: 'REASON', meaning: 'refused for this reason only' },
  count: { type: 'string', short: 'c', value: 'N', meaning: 'end after N packets' },
  seconds: { type: 'string', value: 'S', meaning: 'end after S seconds' },
  snaplen: {
    type: 'string',
    short: 's',
    value: 'BYTES',
    meaning: `copy so much of each packet (${USUAL_SNAP_LENGTH}); 0: all of it`,
  },
  write: {
    type: 'string',
    short: 'w',
    value: 'FILE',
    meaning: 'write pcapng to FILE, "-" for standard output',
  },
} as const;

export const captureCommand: Command = {
  name: 'capture',
  usage: '[--inner] [--outer] [--dropped] [flags]',
  summary: "copies of this node's packets: inner, outer, refused; as lines or for Wireshark",
  help: `Shows packets where the data plane decides on them, without stopping any: what pods send to other nodes and get from them
(--inner), the VXLAN datagrams of the tunnel (--outer), what is refused and why (--dropped). Without a choice: --inner and
--dropped.
Packets between pods of this node do not pass the data plane. When packets come faster than they are read, some are left out here
and counted; none is left out on its way. Times are UTC.

  weft capture --dropped                         what is refused now, and why
  weft capture --host 10.32.0.7 --port 80        HTTP of one pod
  weft capture --outer --peer node-2             does anything come back from node-2?
  kubectl -n weft exec ds/weft -- weft capture --outer -w - | wireshark -k -i -
`,
  flags,
  hearsSignals: () => true,
  run: capture,
};

async function capture(invocation: Invocation): Promise<number> {
  const { env, stderr } = invocation;
  if (invocation.positionals.length > 0) {
    throw wrongUse(
      `"${invocation.positionals[0]}" is not known here: filters are flags, "weft capture --help" lists them`,
    );
  }
  const chosen = filterOf(invocation.flags);
  const path = pathOf(invocation);
  const most = numberFlag(invocation.flags, 'count', { least: 1, most: 1e9 }) ?? Number.POSITIVE_INFINITY;
  const seconds = numberFlag(invocation.flags, 'seconds', {
    least: 0.1,
    most: TWO_TO_20_SECONDS,
    isWhole: false,
  });
  const tables = await readNodeTables(env);
  const filter = { ...chosen, row: rowOf(textFlag(invocation.flags, 'peer'), tables) };
  const files = openCaptureFiles({ runDirectory: runDirectoryOf(env), filter, nowMs: nowMs() });
  try {
    const surroundings = surroundingsOf(tables, env, filter.snapLength);
    const sink = openSink(invocation, surroundings, {
      node: tables.report?.node.name ?? 'unknown',
      path,
    });
    try {
      setPriority(NICENESS);
      await untilWorkersTookIt(files, invocation);
      const captured = await readAll(files, sink, { most, seconds, invocation });
      const leftOut = files.workers().reduce((sum, worker) => sum + worker.leftOut, 0);
      sink.end(leftOut);
      stderr.write(summary(captured, leftOut, filter.snapLength));
    } finally {
      sink.close();
    }
  } finally {
    files.close();
  }
  await tellFirewall(invocation, tables, filter);
  return 0;
}

/** Without the peer, which is found in this node's tables. Throws OperationError WRONG_USE. */
function filterOf(given: Invocation['flags']): Omit<CaptureFilter, 'row'> {
  const reason = textFlag(given, 'reason');
  const points = (['inner', 'outer', 'dropped'] as const).filter((name) => given[name] === true);
  const chosen =
    points.length > 0
      ? points
      : reason === undefined
        ? (['inner', 'dropped'] as const)
        : (['dropped'] as const);
  const snapLength = numberFlag(given, 'snaplen', { least: 0, most: WHOLE });
  const port = numberFlag(given, 'port', { least: 0, most: 65_535 });
  const protocol = protocolFlag(given);
  if (
    port !== undefined &&
    protocol !== undefined &&
    protocol !== IP_PROTOCOL_TCP &&
    protocol !== IP_PROTOCOL_UDP
  ) {
    throw wrongUse('--port belongs to --protocol tcp or udp: nothing else has one');
  }
  if (reason !== undefined && !chosen.some((name) => name === 'dropped')) {
    throw wrongUse('--reason belongs to --dropped: only a refused packet has one');
  }
  return {
    points: CAPTURE_POINTS.filter((point) => chosen.some((name) => point.startsWith(name))),
    host: hostOf(textFlag(given, 'host')),
    port,
    protocol,
    reason: reason === undefined ? undefined : placeOfReason(reason),
    snapLength: snapLength === 0 ? WHOLE : (snapLength ?? USUAL_SNAP_LENGTH),
  };
}

/** Throws OperationError NO_PEER. */
function rowOf(wanted: string | undefined, tables: NodeTables): number | undefined {
  if (wanted === undefined) return undefined;
  const peer = tables.find(wanted);
  if (peer !== undefined) return FIRST_PEER_ROW + peer.slot;
  const known = tables.table.peers.slice(0, 20).map((each) => tables.nameOf(each));
  const silent =
    tables.report === undefined ? ' (control does not answer, so nodes are known by address only)' : '';
  throw new OperationError(
    `Cannot find a peer "${wanted}"${silent}; there is: ${known.join(', ') || 'none'}`,
    { code: 'NO_PEER' },
  );
}

function hostOf(wanted: string | undefined): CaptureFilter['host'] {
  if (wanted === undefined) return undefined;
  const address = addressIn(wanted);
  if (address !== undefined) return { base: address, prefixLength: 32 };
  try {
    return parseCidr(wanted);
  } catch (error) {
    throw wrongUse(
      `--host ${error instanceof Error ? error.message : String(error)}; a pod's name is turned into its address by "kubectl get pod -o wide"`,
    );
  }
}

function placeOfReason(reason: string): number {
  const place = DROP_REASONS.findIndex((known) => known === reason);
  if (place >= 0) return place;
  if (FIREWALL_REASONS.some((known) => known === reason)) {
    throw wrongUse(
      `--reason "${reason}" is of the nftables rules, which count packets before the data plane sees them; docs/operations/capture.md tells how to see those`,
    );
  }
  throw wrongUse(`--reason "${reason}" is not known; there is: ${DROP_REASONS.join(', ')}`);
}

function surroundingsOf(tables: NodeTables, env: Invocation['env'], snapLength: number): CaptureSurroundings {
  const { report, table } = tables;
  // Wall and monotonic time of one moment: they drift apart by less than a packet's neighbour in the time of a capture.
  const offsetUs = Date.now() * 1000 - nowMs() * 1000;
  return {
    own: {
      address: addressIn(report?.node.address ?? env['WEFT_NODE_IP'] ?? '') ?? ipv4(0),
      port: report?.node.port ?? Number(settingOf(env, 'WEFT_PORT')),
    },
    nameOfSlot(slot) {
      const peer = tables.bySlot(slot);
      return peer && tables.nameOf(peer);
    },
    names: table.peers
      .map((peer) => ({ address: peer.address, name: tables.nameOf(peer) }))
      .filter(({ address, name }) => name !== formatIpv4(address)),
    wallUs: (monotonicMs) => Math.round(monotonicMs * 1000 + offsetUs),
    version: VERSION,
    snapLength,
  };
}

async function untilWorkersTookIt(files: CaptureFiles, { stderr, signal }: Invocation): Promise<void> {
  const untilMs = nowMs() + START_MS;
  const missing = (): number => files.workers().filter(({ lookedMs }) => lookedMs === 0).length;
  while (missing() > 0 && nowMs() < untilMs && !signal.aborted) {
    files.renew(nowMs());
    await rest(IDLE_MS, signal);
  }
  const all = files.workers().length;
  if (missing() === all && !signal.aborted) {
    throw new OperationError(
      'Cannot capture: no worker of the data plane has taken it up; is it running ("weft status"), and of the same release as this command?',
      { code: 'CAPTURE_UNSEEN' },
    );
  }
  if (missing() > 0)
    stderr.write(`Only ${all - missing()} of ${all} workers of the data plane have taken the capture up\n`);
  else stderr.write(`Capturing on ${all} worker${all === 1 ? '' : 's'} of the data plane; Ctrl-C ends\n`);
}

interface Limits {
  readonly most: number;
  readonly seconds: number | undefined;
  readonly invocation: Invocation;
}

/** Resolves to how many were put into the sink. */
async function readAll(
  files: CaptureFiles,
  sink: CaptureSink,
  { most, seconds, invocation }: Limits,
): Promise<number> {
  const { signal, stderr } = invocation;
  const endMs = seconds === undefined ? Number.POSITIVE_INFINITY : nowMs() + seconds * 1000;
  const silence = createSilence(stderr);
  let captured = 0;
  let isOver = false;
  for (;;) {
    const packets = files.take(PACKETS_AT_ONCE).slice(0, most - captured);
    if (packets.length > 0) sink.put(packets);
    captured += packets.length;
    if (captured >= most || (isOver && packets.length === 0)) break;
    if (isOver) continue; // what was taken until the end
    files.renew(nowMs());
    silence.look(files);
    const waitMs = packets.length > 0 ? BUSY_MS : IDLE_MS;
    await rest(Math.max(0, Math.min(waitMs, endMs - nowMs())), signal);
    isOver = signal.aborted || nowMs() >= endMs;
    if (isOver) files.end();
  }
  files.end();
  return captured;
}

/** Says once when the workers no longer look: they ended, or were replaced by another release's. */
function createSilence(stderr: Output): { look(files: CaptureFiles): void } {
  let isSaid = false;
  return {
    look(files) {
      const isSilent = files.workers().every(({ lookedMs }) => nowMs() - lookedMs > SILENT_MS);
      if (isSilent && !isSaid) {
        stderr.write(
          'The data plane has not looked at this capture for some seconds: is the agent running? It goes on when it does\n',
        );
      }
      isSaid = isSilent;
    },
  };
}

function summary(captured: number, leftOut: number, snapLength: number): string {
  const remedy =
    leftOut === 0
      ? ''
      : `; they came faster than they were read: narrow the filter${snapLength > 128 ? ', or use a smaller --snaplen' : ''}`;
  return `${captured} captured, ${leftOut} left out${remedy}\n`;
}

/** What the nftables rules refuse never reaches the data plane: their counts, where they moved meanwhile. */
async function tellFirewall(
  { env, stderr }: Invocation,
  { report }: NodeTables,
  filter: CaptureFilter,
): Promise<void> {
  if (!filter.points.includes('dropped_ingress') || filter.reason !== undefined || report === undefined)
    return;
  const after = await askReport(env).catch(() => undefined);
  if (after === undefined) return;
  const moved = FIREWALL_REASONS.map((reason: FirewallReason) => ({
    reason,
    count: (after.drops[reason] ?? 0) - (report.drops[reason] ?? 0),
  })).filter(({ count }) => count > 0);
  if (moved.length === 0) return;
  const words = moved.map(({ reason, count }) => `${reason} ${count}`).join(', ');
  stderr.write(
    `Counted meanwhile under reasons of the nftables rules, which refuse before a packet can be captured: ${words}\n`,
  );
}

const rest = async (ms: number, signal: AbortSignal): Promise<void> => {
  await pause(ms, undefined, { signal }).catch(() => undefined);
};
