// The lab's handle of paced-load.c: a load of numbered datagrams from one pod to another, and what has arrived.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { ENCLOSURE, runCommand } from './command.ts';
import { until } from './condition.ts';
import { LAB_DIRECTORY } from './enclosure.ts';
import type { Pod } from './pod.ts';
import { type LabProcess, startProcess } from './process.ts';

const SOURCE = fileURLToPath(new URL('paced-load.c', import.meta.url));
const PROGRAM = `${LAB_DIRECTORY}/paced-load`;
const PORT = 9000;

export interface Arrived {
  readonly received: number;
  readonly doubled: number;
  readonly reordered: number;
  readonly highest: number;
  /** Longest time between two arrivals. */
  readonly pause_us: number;
}

export interface PacedLoad {
  readonly arrived: () => Arrived;
  /** Ends it, whatever has arrived. */
  readonly stop: () => Promise<void>;
  /** Stops sending, waits until everything has arrived or nothing comes any more, and ends. */
  readonly finish: () => Promise<Arrived & Sent & { readonly lost: number }>;
}

interface Sent {
  readonly sent: number;
  readonly failed: number;
  readonly seconds: number;
}

export interface PacedLoadOptions {
  readonly from: Pod;
  readonly to: Pod;
  readonly perSecond: number;
  readonly bytes: number;
}

let programs = 0;

/** The last whole line of a log; undefined while there is none. */
function lastLine(process: LabProcess): unknown {
  const lines = readFileSync(process.logFile, 'utf8').split('\n');
  const line = lines.at(-2);
  return line === undefined ? undefined : JSON.parse(line);
}

const NOTHING: Arrived = { received: 0, doubled: 0, reordered: 0, highest: 0, pause_us: 0 };

export async function startPacedLoad({ from, to, perSecond, bytes }: PacedLoadOptions): Promise<PacedLoad> {
  await runCommand(ENCLOSURE, ['gcc', '-O2', '-o', PROGRAM, SOURCE]);
  const start = (pod: Pod, words: readonly string[]): LabProcess =>
    startProcess({
      place: pod.place,
      command: [PROGRAM, ...words],
      logFile: `${LAB_DIRECTORY}/paced-load-${(programs += 1)}.log`,
    });
  const receiver = start(to, ['receive', String(PORT)]);
  const arrived = (): Arrived => (lastLine(receiver) as Arrived | undefined) ?? NOTHING; // as: the receiver's lines
  await until(() => lastLine(receiver) !== undefined, { what: 'the receiver to listen' });
  const sender = start(from, ['send', to.address, String(PORT), String(perSecond), String(bytes)]);
  await until(() => arrived().received > 0, { what: 'the first datagram' });
  return {
    arrived,
    stop: async () => {
      await Promise.all([sender.stop(), receiver.stop()]);
    },
    finish: async () => {
      await sender.stop();
      const sent = lastLine(sender) as Sent; // as: the sender's line
      let before = -1;
      // What was sent is on its way for less than two reports, unless a queue of seconds stands in between.
      const settled = (): boolean => {
        const { received } = arrived();
        const isSettled = received >= sent.sent || received === before;
        before = received;
        return isSettled;
      };
      await until(settled, { what: 'the last datagrams', intervalMs: 500 });
      await receiver.stop();
      const last = arrived();
      return { ...last, ...sent, lost: sent.sent - last.received };
    },
  };
}
