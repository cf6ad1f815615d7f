// The data plane's log lines, with the fields of the logger's (agent/telemetry/logger.ts) but without pino, which would cost each process
// 2.5 MB and 20 ms of its start. Invariant: a line never blocks the packets; one that its reader has no room for is left out.
import type { EventName } from '../telemetry/event-names.ts';
import type { LogFields } from '../telemetry/field-names.ts';
import { LOG_LEVELS, type LogLevel, parseLogLevel } from '../telemetry/log-level.ts';
import { LOG_RATE, createLogRate, varietyOf } from '../telemetry/log-rate.ts';
import { formatLogLine } from '../telemetry/log-text.ts';
import { Arena, type Region } from '../linux/arena.ts';
import { libc } from '../linux/libc.ts';
import type { Report } from './report.ts';

const STDOUT_FD = 1;
const POLLOUT = 4;
const POLL_ENTRY_BYTES = 8;
/** PIPE_BUF: a pipe that is writable takes so much without blocking. */
const LONGEST_LINE_BYTES = 4096;
const LONGEST_MESSAGE = 1000;

export interface LogLineOptions {
  /** A LogLevel; another word means info. */
  readonly level: string | undefined;
  readonly format: string | undefined;
  /** For `pretty`: standard output is a terminal. */
  readonly isColoured?: boolean;
  /** Takes whole lines; standard output unless told. */
  readonly write?: (line: string) => void;
  /** Milliseconds since the epoch. */
  readonly clock?: () => number;
}

export function createReport(options: LogLineOptions): Report {
  const clock = options.clock ?? Date.now;
  const write = options.write ?? createStandardOutput(new Arena(1));
  const least = LOG_LEVELS.indexOf(parseLogLevel(options.level));
  const rate = createLogRate(LOG_RATE);
  return ({ level, event, message, fields: given = {} }) => {
    if (LOG_LEVELS.indexOf(level) < least) return;
    const nowMs = clock();
    const leftOut = rate.admit(event, varietyOf(given), nowMs);
    if (leftOut === undefined) return;
    const fields = leftOut > 0 ? { ...given, left_out: leftOut } : given;
    const line = lineOf({ level, time: new Date(nowMs).toISOString(), event, message, fields });
    write(options.format === 'pretty' ? formatLogLine(line, options.isColoured) : line);
  };
}

interface Line {
  readonly level: LogLevel;
  readonly time: string;
  readonly event: EventName;
  readonly message: string;
  readonly fields: LogFields;
}

function lineOf({ level, time, event, message, fields }: Line): string {
  const msg = message.slice(0, LONGEST_MESSAGE);
  const line = `${JSON.stringify({ level, time, role: 'dataplane', event, ...fields, msg })}\n`;
  if (Buffer.byteLength(line) <= LONGEST_LINE_BYTES) return line;
  return `${JSON.stringify({ level, time, role: 'dataplane', event, msg: msg.slice(0, 500) })}\n`;
}

function createStandardOutput(arena: Arena): (line: string) => void {
  const text: Region = arena.allocate(LONGEST_LINE_BYTES);
  const entry: Region = arena.allocate(POLL_ENTRY_BYTES);
  entry.view.setInt32(0, STDOUT_FD, true);
  entry.view.setInt16(4, POLLOUT, true);
  const encoder = new TextEncoder();
  return (line) => {
    if (libc.poll(entry.address, 1, 0) !== 1) return;
    libc.write(STDOUT_FD, text.address, encoder.encodeInto(line, text.bytes).written);
  };
}
