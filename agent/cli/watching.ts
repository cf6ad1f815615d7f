// Tells an answer once, or again and again until the command is ended (--watch): redrawn in place on a terminal, elsewhere one after another,
// each after a line with the time, so that a file of them can be read later. Time is a parameter.
import { setTimeout as pause } from 'node:timers/promises';

import { OperationError } from '../operation-error.ts';
import type { Flag, Invocation } from './command.ts';
import { wrongUse } from './flags.ts';

export const WATCH: Flag = {
  type: 'string',
  short: 'w',
  implied: '2',
  value: 'SECONDS',
  meaning: 'again every 2 seconds, or as many; ends by Ctrl-C',
};

export interface Timing {
  now(): Date;
  /** Resolves after `milliseconds`, or as soon as the signal is aborted. */
  pause(milliseconds: number, signal: AbortSignal): Promise<void>;
}

export const systemTiming: Timing = {
  now: () => new Date(),
  pause: (milliseconds, signal) => pause(milliseconds, undefined, { signal }).catch(() => undefined),
};

export interface Shown {
  readonly text: string;
  readonly exitCode: number;
}

const HOME = '\u001B[H';
const TO_END_OF_LINE = '\u001B[K';
const TO_END_OF_SCREEN = '\u001B[J';
const CLEAR = '\u001B[2J';

/** Resolves to the exit code of the last. Without --watch it throws what `show` throws; with it that is shown, and looked at again. */
export async function watching(
  { flags, stdout, signal }: Pick<Invocation, 'flags' | 'stdout' | 'signal'>,
  { show, timing }: { readonly show: () => Promise<Shown>; readonly timing: Timing },
): Promise<number> {
  const { watch } = flags;
  if (typeof watch !== 'string') {
    const { text, exitCode } = await show();
    stdout.write(text);
    return exitCode;
  }
  const seconds = Number(watch);
  if (!(seconds >= 0.1 && seconds <= 86_400)) {
    throw wrongUse(`Cannot read "--watch=${watch}": give seconds from 0.1 to 86400`);
  }
  for (let isFirst = true; ; isFirst = false) {
    const { text, exitCode } = await show().catch(toShown);
    if (stdout.isTerminal) {
      const redrawn = text.replaceAll('\n', `${TO_END_OF_LINE}\n`);
      stdout.write(`${isFirst ? CLEAR : ''}${HOME}${fitting(redrawn, stdout.rows)}${TO_END_OF_SCREEN}`);
    } else {
      stdout.write(`--- ${timing.now().toISOString()}\n${text}`);
    }
    await timing.pause(seconds * 1000, signal);
    if (signal.aborted) return exitCode;
  }
}

function toShown(error: unknown): Shown {
  if (!(error instanceof OperationError)) throw error;
  return { text: `${error.message}\n`, exitCode: 1 };
}

/** What is longer than the terminal would scroll at each look. */
function fitting(text: string, rows: number | undefined): string {
  const lines = text.split('\n');
  return rows === undefined || lines.length <= rows
    ? text
    : `${lines.slice(0, rows - 1).join('\n')}\n… ${lines.length - rows} more lines${TO_END_OF_LINE}`;
}
