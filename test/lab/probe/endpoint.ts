// The lab's handle of a probe worker: typed calls over the IPC channel.
import type { ChildProcess } from 'node:child_process';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

import { type Place, spawnIn } from '../command.ts';
import type {
  EdgeAnswer,
  EdgeSweep,
  ProbeReport,
  Transfer,
  UdpAnswer,
  WorkerMethod,
  WorkerMethods,
  WorkerReply,
  WorkerRequest,
} from './protocol.ts';

const WORKER = fileURLToPath(new URL('worker.ts', import.meta.url));
const BOUND_MS = 3000;

export interface Probe {
  /** The number of the next datagram. */
  readonly mark: () => Promise<number>;
  readonly answered: () => Promise<number>;
  /** Stops, waits for outstanding answers, and returns how many were sent. */
  readonly finish: (boundMs?: number) => Promise<number>;
  /** Of the datagrams `from` … `to` - 1. Losses are final only after `finish`. */
  readonly report: (from?: number, to?: number) => Promise<ProbeReport>;
}

export interface Endpoint {
  readonly startProbe: (target: string, options?: { perSecond?: number; bytes?: number }) => Promise<Probe>;
  readonly udpEcho: (target: string, sizes: readonly number[]) => Promise<readonly UdpAnswer[]>;
  readonly tcpEcho: (target: string, bytes?: number) => Promise<number>;
  readonly transfer: (target: string, bytes: number, options?: { boundMs: number }) => Promise<Transfer>;
  readonly tcpRoundTrips: (target: string, count: number) => Promise<{ p50: number; p99: number }>;
  readonly sweepEdge: (sweep: EdgeSweep) => Promise<readonly EdgeAnswer[]>;
  readonly sendRaw: (
    to: { address: string; port: number },
    datagrams: readonly Uint8Array[],
  ) => Promise<void>;
  /** Keeps what arrives at a UDP port, for `readInbox`. */
  readonly openInbox: (port: number) => Promise<void>;
  readonly readInbox: (port: number) => Promise<readonly string[]>;
  readonly close: () => Promise<void>;
}

/** Starts a worker in a place; resolves when its echoes listen. */
export async function openEndpoint(place: Place): Promise<Endpoint> {
  const child = spawnIn(place, [process.execPath, WORKER], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const call = await connectWorker(child, place.name);
  return {
    startProbe: async (target, { perSecond = 1000, bytes = 64 } = {}) => {
      const id = await call('startProbe', { target, perSecond, bytes });
      return {
        mark: () => call('markProbe', id),
        answered: () => call('answeredProbe', id),
        finish: (boundMs = BOUND_MS) => call('finishProbe', { id, boundMs }),
        report: (from = 0, to = Number.MAX_SAFE_INTEGER) => call('reportProbe', { id, from, to }),
      };
    },
    udpEcho: (target, sizes) => call('udpEcho', { target, sizes, boundMs: BOUND_MS }),
    tcpEcho: (target, bytes = 1000) => call('tcpEcho', { target, bytes, boundMs: BOUND_MS }),
    transfer: (target, bytes, { boundMs } = { boundMs: 60_000 }) =>
      call('transfer', { target, bytes, boundMs }),
    tcpRoundTrips: (target, count) => call('tcpRoundTrips', { target, count, boundMs: 60_000 }),
    sweepEdge: (sweep) => call('sweepEdge', sweep),
    sendRaw: async (to, datagrams) => {
      await call('sendRaw', {
        ...to,
        datagrams: datagrams.map((datagram) => Buffer.from(datagram).toString('base64')),
      });
    },
    openInbox: async (port) => {
      await call('openInbox', port);
    },
    readInbox: async (port) => {
      const datagrams = await call('readInbox', port);
      return datagrams.map((text) => Buffer.from(text, 'base64').toString());
    },
    close: () =>
      new Promise((resolve) => {
        if (child.exitCode !== null || child.signalCode !== null) return resolve();
        child.once('exit', () => resolve());
        child.disconnect();
      }),
  };
}

type Call = <Method extends WorkerMethod>(
  method: Method,
  argument: WorkerMethods[Method][0],
) => Promise<WorkerMethods[Method][1]>;

async function connectWorker(child: ChildProcess, name: string): Promise<Call> {
  const waiting = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>();
  let count = 0;
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.on('exit', (code) => {
      const error = new Error(`The probe worker in ${name} ended (${code})`);
      reject(error);
      for (const one of waiting.values()) one.reject(error);
    });
    child.on('message', (message) => {
      const reply = message as WorkerReply; // as: only the worker writes to this channel
      if ('ready' in reply) return resolve();
      const one = waiting.get(reply.id);
      waiting.delete(reply.id);
      if ('error' in reply) one?.reject(new Error(`${name}: ${reply.error}`));
      else one?.resolve(reply.result as never); // as: the worker's side is typed by the same table
    });
  });
  return (method, argument) =>
    new Promise((resolve, reject) => {
      count += 1;
      waiting.set(count, { resolve, reject });
      const request: WorkerRequest = { id: count, method, argument };
      child.send(request);
    });
}
