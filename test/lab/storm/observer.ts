// Runs in a node: kills there what it is told to at the point of progress that it is told, looks at once at what was left, and looks into
// pods' namespaces when asked. A process of its own, so that nothing else keeps it from its moment. Ends with its parent.
import { readFileSync } from 'node:fs';
import { setPriority } from 'node:os';
import process from 'node:process';

import { openNodeReader } from './node-view.ts';
import { openProgress } from './progress.ts';
import {
  type KillOrder,
  type KillReport,
  type ObserverReply,
  type ObserverRequest,
  nowUs,
} from './protocol.ts';

const GONE_BOUND_US = 5_000_000;
const GONE_INTERVAL_MS = 0.1;

// A step of an ADD takes some ten microseconds: who wakes up late misses it.
setPriority(-19);
const reader = openNodeReader();
const progress = openProgress();
/** Plugins that run, the latest last. */
const shims = new Set<number>();

const reply = (message: ObserverReply): void => void process.send?.(message);

function kill({ victims, point, boundMs }: KillOrder, done: (report: KillReport) => void): void {
  const act = (reached: boolean): void => {
    const pids = victims === 'shim' ? [...shims].slice(-1) : victims;
    const atUs = nowUs();
    for (const pid of pids) send9(pid);
    for (const pid of pids) waitUntilGone(pid);
    done({ victims: pids, reached, atUs, view: reader.view() });
  };
  progress.at(point, { boundMs, act });
}

function send9(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // it has ended by itself
  }
}

const cell = new Int32Array(new SharedArrayBuffer(4));

/** All threads: one that is in the middle of a write still ends it. */
function waitUntilGone(pid: number): void {
  const end = nowUs() + GONE_BOUND_US;
  while (!isGone(pid)) {
    if (nowUs() > end) throw new Error(`Process ${pid} was killed and does not end`);
    Atomics.wait(cell, 0, 0, GONE_INTERVAL_MS);
  }
}

function isGone(pid: number): boolean {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    const [state, threads] = [fields[0], fields[17]];
    return (state === 'Z' || state === 'X') && Number(threads) <= 1;
  } catch {
    return true;
  }
}

function answer(request: Exclude<ObserverRequest, { note: string }>): void {
  const { id } = request;
  try {
    switch (request.ask) {
      case 'kill':
        kill(request.order, (result) => reply({ id, result }));
        return;
      case 'view':
        reply({ id, result: reader.view() });
        return;
      case 'look':
        reply({ id, result: reader.look(request.netns) });
        return;
      default:
        return request satisfies never;
    }
  } catch (error) {
    reply({ id, error: error instanceof Error ? error.message : String(error) });
  }
}

process.on('message', (message) => {
  const request = message as ObserverRequest; // as: only the client writes to this channel
  if (!('note' in request)) return answer(request);
  if (request.note === 'sent') shims.add(request.pid);
  else shims.delete(request.pid);
  progress.happened(request.note);
});
process.on('disconnect', () => process.exit(0));
reply({ ready: true });
