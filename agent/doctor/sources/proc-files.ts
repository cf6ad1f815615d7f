// Small files of /proc and /sys as values. Nothing here throws: what is not there, or not for us, is undefined.
import { readFileSync } from 'node:fs';

export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

export function readNumber(path: string): number | undefined {
  const text = readText(path)?.trim();
  return text === undefined || !/^-?\d+$/.test(text) ? undefined : Number(text);
}

/** Such as "Udp: InErrors …" over "Udp: 3 …" in /proc/net/snmp. */
export function readPairedLines(path: string): ReadonlyMap<string, number> {
  const values = new Map<string, number>();
  const lines = (readText(path) ?? '').split('\n');
  for (let at = 0; at + 1 < lines.length; at += 2) {
    const [prefix = '', ...names] = (lines[at] ?? '').split(' ');
    const [, ...numbers] = (lines[at + 1] ?? '').split(' ');
    names.forEach((name, index) => values.set(`${prefix}${name}`, Number(numbers[index] ?? 0)));
  }
  return values;
}
