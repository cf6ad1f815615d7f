// Logs: one JSON line per event, with a closed vocabulary (event-names.ts) and a rate limit per event. The only importer of pino.
// Lines are written synchronously, so that nothing is lost when the process ends; a closed or full log never ends the agent.
import { fstatSync } from 'node:fs';

import { type DestinationStream, destination, pino } from 'pino';

import { codeOf } from '../operation-error.ts';
import type { EventAt } from './event-names.ts';
import type { LogFields, Unlisted } from './field-names.ts';
import { type LogLevel, parseLogLevel } from './log-level.ts';
import { LOG_RATE, createLogRate, varietyOf } from './log-rate.ts';
import { formatLogLine } from './log-text.ts';

export type { LogFields } from './field-names.ts';
export type { LogLevel } from './log-level.ts';

/** `message` is a sentence for people: what happened and, for a warning or an error, what is to be done. */
type Write<L extends LogLevel> = <Given extends LogFields>(
  event: EventAt<L>,
  message: string,
  fields?: Given & Unlisted<Given>,
) => void;

export interface Logger {
  readonly trace: Write<'trace'>;
  readonly debug: Write<'debug'>;
  readonly info: Write<'info'>;
  readonly warn: Write<'warn'>;
  readonly error: Write<'error'>;
  /** The same destination and rate limit for another role. */
  child(role: LogRole): Logger;
  /** Tells what the rate limit left out; for the end of the process. */
  flush(): void;
}

export type LogRole = 'keeper' | 'control' | 'dataplane' | 'cli';

export interface LoggerOptions {
  readonly role: LogRole;
  /** A LogLevel; another word means info. */
  readonly level: string;
  readonly format: 'json' | 'pretty';
  /** Takes whole lines; standard output unless told. */
  readonly write?: (line: string) => void;
  /** Milliseconds since the epoch, for `time` and for the rate limit. */
  readonly clock?: () => number;
}

const STDOUT_FD = 1;

export function createLogger(options: LoggerOptions): Logger {
  const clock = options.clock ?? Date.now;
  const rate = createLogRate(LOG_RATE);
  const sink = options.write ?? standardOutput();
  const isColoured = options.write === undefined && fstatSync(STDOUT_FD).isCharacterDevice();
  const stream: DestinationStream = {
    write: options.format === 'pretty' ? (line) => sink(formatLogLine(line, isColoured)) : sink,
  };
  const root = pino(
    {
      level: parseLogLevel(options.level),
      base: null,
      timestamp: () => `,"time":"${new Date(clock()).toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    stream,
  );

  const createFor = (role: LogRole): Logger => {
    const lines = root.child({ role });
    const writer =
      <L extends LogLevel>(level: L): Write<L> =>
      (event, message, fields) => {
        if (!lines.isLevelEnabled(level)) return;
        const leftOut = rate.admit(event, varietyOf(fields), clock());
        if (leftOut === undefined) return;
        lines[level]({ event, ...fields, ...(leftOut > 0 ? { left_out: leftOut } : {}) }, message);
      };
    return {
      trace: writer('trace'),
      debug: writer('debug'),
      info: writer('info'),
      warn: writer('warn'),
      error: writer('error'),
      child: createFor,
      flush() {
        for (const [event, count] of rate.untold()) {
          const message = `${count} lines of "${event}" were left out`;
          lines.info({ event: 'log_lines_left_out', of_event: event, left_out: count }, message);
        }
      },
    };
  };
  return createFor(options.role);
}

/** The fields of something that was thrown: its code and its messages, causes included. */
export function errorFields(error: unknown): LogFields {
  const messages: string[] = [];
  for (let at: unknown = error; at !== undefined && messages.length < 5;) {
    messages.push(at instanceof Error ? at.message : JSON.stringify(at));
    at = at instanceof Error ? at.cause : undefined;
  }
  return { code: codeOf(error), error: messages.join(': ') };
}

function standardOutput(): (line: string) => void {
  const stream = destination({ dest: STDOUT_FD, sync: true });
  // Standard output was closed, or its disk is full: logs are lost, the pods' network is not.
  stream.on('error', () => undefined);
  return (line) => stream.write(line);
}
