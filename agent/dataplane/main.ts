// The data plane's process. It inherits its descriptors from the keeper, prepares everything, says "ready" and waits for its turn; then it
// carries packets as the worker that it was told to be, until the keeper says "drain" or is gone. It needs no API and no disk: its table is
// a file on tmpfs. The control channels are shared with the spare, so none is read before the turn comes; the table's file is read then anyway.
import { fstatSync, readFileSync } from 'node:fs';
import { flushCompileCache } from 'node:module';
import { constants } from 'node:os';
import { join } from 'node:path';

import { decodeForwardingTable } from '../../proto/forwarding-codec.ts';
import { MOST_WORKERS } from '../../proto/worker-files.ts';
import type { Region } from '../linux/arena.ts';
import { errno, libc } from '../linux/libc.ts';
import { TUN_F_USO4, setOffloads } from '../linux/tun.ts';
import { codeOf } from '../operation-error.ts';
import { createReport } from './log-line.ts';
import { type LoopOptions, run, takeOver } from './loop.ts';
import { type Dataplane, type Descriptors, prepareDataplane } from './prepare.ts';
import { NEVER } from './probes.ts';
import type { Report } from './report.ts';
import { SEND_SOCKETS } from './send-batch.ts';
import { PROCESS_GAUGE } from './stats.ts';

const STDOUT_FD = 1;
const WORKER_DESCRIPTORS = 3;
const SEND = 7;
const OTHERS = SEND + SEND_SOCKETS;
const DESCRIPTORS: Descriptors = {
  keeper: 3,
  control: 4,
  tun: 5,
  receive: 6,
  send: Array.from({ length: SEND_SOCKETS }, (_, index) => SEND + index),
  others: Array.from({ length: MOST_WORKERS - 1 }, (_, index) => {
    const first = OTHERS + index * WORKER_DESCRIPTORS;
    return [first, first + 1, first + 2] as const;
  }),
};
/** The turn that the keeper gives; a worker's number. */
const ACTIVATE = /^activate (\d)$/;
/** Only the first worker asks: peers' answers are steered to it (reuseport-steering.ts). */
const NO_PROBES: LoopOptions['probes'] = { sendDue: () => undefined, nextDueMs: () => NEVER };
const MESSAGE_BYTES = 64;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const EXIT_FAILED = 1;
/** No message now; every other error means that the channel is no more. */
const QUIET: ReadonlySet<number> = new Set([constants.errno.EAGAIN, constants.errno.EINTR]);

const write = createReport({
  level: process.env['LOG_LEVEL'],
  format: process.env['LOG_FORMAT'],
  isColoured: fstatSync(STDOUT_FD).isCharacterDevice(),
});
const workers = Number(process.env['WEFT_DATAPLANE_WORKERS'] ?? 1);
let worker: number | undefined;
const report: Report = (reported) =>
  write(
    workers > 1 && worker !== undefined ? { ...reported, fields: { ...reported.fields, worker } } : reported,
  );

function main(): void {
  const runDirectory = process.env['WEFT_RUN_DIR'] ?? '/run/weft';
  try {
    const tunName = process.env['WEFT_TUN_NAME'] ?? 'weft0';
    const dataplane = prepareDataplane({
      runDirectory,
      descriptors: DESCRIPTORS,
      tunName,
      workers,
      report,
    });
    const tablePath = join(runDirectory, 'forwarding-table');
    readTable(dataplane, tablePath); // warms the spare up; read again when its turn comes
    if (serve(dataplane, tablePath)) process.exit(0);
  } catch (error) {
    report({
      level: 'error',
      event: 'dataplane_failed',
      message: `${error instanceof Error ? error.message : String(error)}; another process takes over. Report this line where it goes on`,
      fields: { code: codeOf(error) },
    });
  }
  process.exit(EXIT_FAILED);
}

/** True when the keeper asked for the end; false when it never gave the turn. */
function serve(dataplane: Dataplane, tablePath: string): boolean {
  const channel = createChannel(dataplane.arena.allocate(MESSAGE_BYTES));
  flushCompileCache(); // the loop below never ends in order
  channel.send(DESCRIPTORS.keeper, 'ready');
  while (worker === undefined) {
    const text = channel.receive(DESCRIPTORS.keeper, 0);
    if (text === undefined) return false;
    if (text === 'drain') return true;
    const turn = ACTIVATE.exec(text)?.[1];
    if (turn !== undefined) worker = Number(turn);
  }
  dataplane.become(worker);
  const { stats, clock, tun, ingress, probes } = dataplane;
  const reload = (): void => {
    readTable(dataplane, tablePath);
    stats.setProcess(PROCESS_GAUGE.generation, dataplane.egress.forwarding.generation);
  };
  const options: LoopOptions = {
    ...dataplane,
    probes: worker === 0 ? dataplane.probes : NO_PROBES,
    descriptors: DESCRIPTORS,
    message: (fd) => channel.receive(fd, MSG_DONTWAIT),
    reload,
    housekeeping() {
      dataplane.lookAtCapture();
      const mtu = tun.mtu(DESCRIPTORS.receive);
      if (mtu === undefined) return;
      ingress.mtu = mtu;
      if (worker === 0) probes.pathMtu.deviceMtu(mtu, clock.nowMs);
      else dataplane.followPaths();
    },
  };
  if (worker === 0) dataplane.probeSocket.open(DESCRIPTORS.receive);
  reload();
  ingress.mergesUdp = (setOffloads(DESCRIPTORS.tun) & TUN_F_USO4) !== 0;
  options.housekeeping();
  stats.setProcess(PROCESS_GAUGE.process_id, process.pid);
  stats.setProcess(PROCESS_GAUGE.started_ms, clock.read());
  channel.send(DESCRIPTORS.keeper, 'active');
  takeOver({ ...options, isInFlight: takeInFlight(dataplane) });
  dataplane.inFlight.handedOn();
  const { generation } = dataplane.egress.forwarding;
  report({
    level: 'info',
    event: 'dataplane_active',
    message: `${workers > 1 ? `Worker ${worker} is carrying` : 'Carrying'} packets by forwarding table ${generation}`,
    fields: { generation },
  });
  run(options);
  return true;
}

/** True when packets of the process before are to be handed on. */
function takeInFlight(dataplane: Dataplane): boolean {
  const found = dataplane.inFlight.map();
  if (found === 'given_up') {
    report({
      level: 'error',
      event: 'packet_dropped',
      message:
        'Packets in flight are given up: the processes that tried to hand them on ended. Report this line',
      fields: { reason: 'in_flight_given_up' },
    });
  }
  return found === 'in_flight';
}

/** Uses the table of the file; goes on with the one in use when the file is missing or damaged. */
function readTable(dataplane: Dataplane, path: string): void {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') refuseTable(path, `unreadable: ${codeOf(error)}`);
    return;
  }
  const table = decodeForwardingTable(bytes);
  if (table.ok) dataplane.useTable(table.value);
  else refuseTable(path, table.reason);
}

function refuseTable(path: string, reason: string): void {
  report({
    level: 'warn',
    event: 'forwarding_refused',
    message: `Forwarding table ${path} is refused (${reason}); the last one stays in force until control writes another: restart the agent where it stays so`,
    fields: { reason, path },
  });
}

interface Channel {
  send(fd: number, text: string): void;
  /** The next message; '' when there is none, undefined when the other end is gone. */
  receive(fd: number, flags: number): string | undefined;
}

function createChannel(buffer: Region): Channel {
  const decoder = new TextDecoder();
  return {
    send(fd, text) {
      buffer.bytes.set(new TextEncoder().encode(text));
      libc.send(fd, buffer.address, text.length, MSG_DONTWAIT | MSG_NOSIGNAL);
    },
    receive(fd, flags) {
      const length = libc.recv(fd, buffer.address, MESSAGE_BYTES, flags);
      if (length === 0) return undefined;
      if (length < 0) return QUIET.has(errno()) ? '' : undefined;
      return decoder.decode(buffer.bytes.slice(0, length));
    },
  };
}

main();
