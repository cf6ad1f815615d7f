// A long-running program of the lab: its output goes to a log file, it can be stopped (SIGTERM) or killed, and its end is awaited.
import type { ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';

import { type Place, spawnIn } from './command.ts';

export interface ProcessOptions {
  readonly place: Place;
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Appended to. */
  readonly logFile: string;
}

export interface LabProcess {
  readonly pid: number;
  readonly logFile: string;
  readonly running: () => boolean;
  /** Resolves when the process has ended. */
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>;
  /** SIGTERM, and SIGKILL when it has not ended after the bound. */
  readonly stop: (boundMs?: number) => Promise<void>;
  readonly kill: (signal?: NodeJS.Signals) => Promise<void>;
}

export function startProcess({ place, command, env, logFile }: ProcessOptions): LabProcess {
  const log = openSync(logFile, 'a');
  let child: ChildProcess;
  try {
    child = spawnIn(place, command, { stdio: ['ignore', log, log], ...(env === undefined ? {} : { env }) });
  } finally {
    closeSync(log);
  }
  let running = true;
  const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    child.on('error', () => {
      running = false;
      resolve({ code: null, signal: null });
    });
    child.on('exit', (code, signal) => {
      running = false;
      resolve({ code, signal });
    });
  });
  const kill = async (signal: NodeJS.Signals = 'SIGKILL'): Promise<void> => {
    if (running) child.kill(signal);
    await ended;
  };
  const stop = async (boundMs = 5000): Promise<void> => {
    if (!running) return;
    const bound = setTimeout(() => child.kill('SIGKILL'), boundMs);
    await kill('SIGTERM');
    clearTimeout(bound);
  };
  return { pid: child.pid ?? -1, logFile, running: () => running, ended, stop, kill };
}

/** The last lines of a log, for a failure's message. */
export function logTail(logFile: string, lines = 30): string {
  try {
    return readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
  } catch {
    return '(no log)';
  }
}

/** Process ids and command lines of the children of a process. */
export function childrenOf(pid: number): readonly { readonly pid: number; readonly command: string }[] {
  let ids: string[];
  try {
    ids = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ');
  } catch {
    return []; // it has ended
  }
  return ids
    .filter((id) => id !== '')
    .map((id) => {
      let command = '';
      try {
        command = readFileSync(`/proc/${id}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
      } catch {
        // ended in between
      }
      return { pid: Number(id), command };
    });
}
