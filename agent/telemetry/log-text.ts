// LOG_FORMAT=pretty: one log line as people read it, made from the JSON line. Pure.
//
//   12:04:07.311 warn  control  block_contested  Node b was faster …  block=10.32.4.0-26 attempt=2

const TIME_IN_ISO = [11, 23] as const;
const SHOWN = new Set(['time', 'level', 'role', 'event', 'msg']);

/** `line` is one JSON object; anything else is returned as it is. */
export function formatLogLine(line: string): string {
  const record = parseRecord(line);
  if (record === undefined) return line;
  const text = (name: string): string => wordOf(record[name] ?? '');
  const fields = Object.entries(record)
    .filter(([name, value]) => !SHOWN.has(name) && value !== undefined)
    .map(([name, value]) => `${name}=${quoted(wordOf(value))}`);
  return (
    [
      text('time').slice(...TIME_IN_ISO),
      text('level').padEnd(5),
      text('role').padEnd(9),
      text('event'),
      ` ${text('msg')}`,
      ...(fields.length > 0 ? [` ${fields.join(' ')}`] : []),
    ].join(' ') + '\n'
  );
}

function parseRecord(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}

const wordOf = (value: unknown): string =>
  typeof value === 'string' ? value : (JSON.stringify(value) ?? '');

const quoted = (word: string): string => (/^[^\s"=]+$/.test(word) ? word : JSON.stringify(word));
