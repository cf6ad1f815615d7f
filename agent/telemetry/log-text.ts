// LOG_FORMAT=pretty: one log line as people read it, made from the JSON line; the time is UTC, as in JSON. Never more than one line, and no
// control character of a message reaches the terminal. Pure.
//
//   12:04:07.311Z warn  control   block_contested              Node b was faster …  block=10.32.4.0-26

const TIME_IN_ISO = [11, 24] as const;
const SHOWN = new Set(['time', 'level', 'role', 'event', 'msg']);
const WIDTH = { level: 5, role: 9, event: 27 };
const LEVEL_COLOURS: Readonly<Record<string, string>> = { error: '31', warn: '33', debug: '2', trace: '2' };

/** `line` is one JSON object; anything else is returned as it is. */
export function formatLogLine(line: string, isColoured = false): string {
  const record = parseRecord(line);
  if (record === undefined) return line;
  const text = (name: string): string => printable(wordOf(record[name] ?? ''));
  const fields = Object.entries(record)
    .filter(([name, value]) => !SHOWN.has(name) && value !== undefined)
    .map(([name, value]) => `${name}=${quoted(wordOf(value))}`);
  const level = text('level');
  const colour = isColoured ? LEVEL_COLOURS[level] : undefined;
  const painted = (word: string): string => (colour === undefined ? word : `\x1b[${colour}m${word}\x1b[0m`);
  return (
    [
      text('time').slice(...TIME_IN_ISO),
      painted(level.padEnd(WIDTH.level)),
      text('role').padEnd(WIDTH.role),
      text('event').padEnd(WIDTH.event),
      text('msg'),
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

/** Line ends and escape sequences as JSON writes them, those that JSON leaves as they are too. */
const printable = (text: string): string =>
  text.replace(/\p{Cc}|\u2028|\u2029/gu, (character) => {
    const escaped = JSON.stringify(character).slice(1, -1);
    return escaped === character ? `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}` : escaped;
  });

const quoted = (word: string): string =>
  /^[^\s"=\p{Cc}]+$/u.test(word) ? word : printable(JSON.stringify(word));
