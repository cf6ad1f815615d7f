// The data plane's log lines, with the fields of the logger's (agent/telemetry/logger.ts) but without pino, which would cost each process
// 2.5 MB and 20 ms of its start. Invariant: a line never blocks the packets; one that its reader has no room for is left out.
import type { EventName } from '../telemetry/event-names.ts';
import { formatLogLine } from '../telemetry/log-text.ts';
import type { LogLevel } from '../telemetry/logger.ts';
import type { OperationContext } from '../operation-error.ts';
import { Arena, type Region } from '../linux/arena.ts';
import { libc } from '../linux/libc.ts';
import type { Report } from './report.ts';

const LEVELS: readonly LogLevel[] = ['trace', 'debug', 'info', 'warn', 'error'];
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
  /** Takes whole lines; standard output unless told. */
  readonly write?: (line: string) => void;
  /** Milliseconds since the epoch. */
  readonly clock?: () => number;
}

export function createReport(options: LogLineOptions): Report {
  const clock = options.clock ?? Date.now;
  const write = options.write ?? createStandardOutput(new Arena(1));
  const named = LEVELS.findIndex((level) => level === options.level);
  const least = named < 0 ? LEVELS.indexOf('info') : named;
  return ({ level, event, message, fields = {} }) => {
    if (LEVELS.indexOf(level) < least) return;
    const line = lineOf({ level, time: new Date(clock()).toISOString(), event, message, fields });
    write(options.format === 'pretty' ? formatLogLine(line) : line);
  };
}

interface Line {
  readonly level: LogLevel;
  readonly time: string;
  readonly event: EventName;
  readonly message: string;
  readonly fields: OperationContext;
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
