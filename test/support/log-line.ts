// The agent's log lines as an operator reads them, checked against the closed lists: event, level, fields and their types, and that a warning or
// an error says what to do.
import { EVENT_ROWS } from '../../agent/telemetry/event-names.ts';
import { isLogField } from '../../agent/telemetry/field-names.ts';
import { REMEDY } from './remedy-words.ts';

export interface LogLine {
  readonly time: string;
  readonly level: string;
  readonly role: string;
  readonly event: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

const LEVELS = new Map(EVENT_ROWS.map(([name, levels]) => [name, new Set(levels.split(', '))]));
const ROLES: ReadonlySet<unknown> = new Set(['keeper', 'control', 'dataplane']);
const OWN: ReadonlySet<string> = new Set(['time', 'level', 'role', 'event', 'msg']);

/** Throws at a line that is not as docs/operations/log-events.md says. */
export function parseLog(text: string): readonly LogLine[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const parsed: unknown = line.startsWith('{') ? JSON.parse(line) : undefined;
      const fault = faultOf(parsed);
      if (fault !== undefined)
        throw new Error(`The agent wrote a line that is no log event (${fault}): ${line}`);
      return parsed as LogLine; // as: faultOf looked at every field
    });
}

function faultOf(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null) return 'no object';
  const { time, level, role, event, msg } = value as Partial<LogLine>; // as: each field is checked here
  if (typeof time !== 'string' || Number.isNaN(Date.parse(time))) return 'time';
  if (!ROLES.has(role)) return 'role';
  if (typeof event !== 'string' || !LEVELS.has(event)) return 'event';
  if (typeof level !== 'string' || LEVELS.get(event)?.has(level) !== true) return 'level';
  if (typeof msg !== 'string' || msg === '') return 'msg';
  const isPointedTo = event === 'agent_refused_to_start'; // by its code, in refusals.md
  if (/^(?:warn|error)$/.test(level) && !isPointedTo && !REMEDY.test(msg)) return 'nothing to do in msg';
  return Object.entries(value).find(([name, field]) => !OWN.has(name) && !isLogField(name, field))?.[0];
}

export const withEvent = (lines: readonly LogLine[], event: string): readonly LogLine[] =>
  lines.filter((line) => line.event === event);
