// Writes plain data as YAML 1.2 in block style, as the formatter would. Strings that YAML could take for something else are quoted.

export type YamlValue =
  | string
  | number
  | boolean
  | null
  | readonly YamlValue[]
  | { readonly [key: string]: YamlValue | undefined };

// Starts with a letter, so it is no number; ": " and " #" would mean something inside it, and spaces at its end would be lost.
const PLAIN = /^[A-Za-z](?!.*(?:: |:$| #|\s$))[^\p{Cc}\u2028\u2029]*$/u;
const RESERVED = /^(?:true|false|null|yes|no|on|off|y|n)$/i;

/** Ends with a newline. */
export function formatYaml(value: YamlValue): string {
  return `${lines(value).join('\n')}\n`;
}

function lines(value: YamlValue): readonly string[] {
  if (isList(value)) {
    if (value.length === 0) return ['[]'];
    return value.flatMap((item) => {
      const [first = '', ...rest] = lines(item);
      return [`- ${first}`, ...rest.map((line) => `  ${line}`)];
    });
  }
  if (typeof value !== 'object' || value === null) return [scalar(value)];
  if (isEmpty(value)) return ['{}'];
  return Object.entries(value).flatMap(([key, item]) => (item === undefined ? [] : entry(scalar(key), item)));
}

function entry(key: string, value: YamlValue): readonly string[] {
  if (isEmpty(value)) return [`${key}: ${isList(value) ? '[]' : '{}'}`];
  if (typeof value !== 'object' || value === null) return [`${key}: ${scalar(value)}`];
  return [`${key}:`].concat(lines(value).map((line) => `  ${line}`));
}

const isList = (value: YamlValue): value is readonly YamlValue[] => Array.isArray(value);

const isEmpty = (value: YamlValue): boolean =>
  typeof value === 'object' && value !== null && Object.keys(value).length === 0;

function scalar(value: string | number | boolean | null): string {
  if (typeof value !== 'string') return String(value);
  return PLAIN.test(value) && !RESERVED.test(value) ? value : quote(value);
}

/** Between single quotes nothing but they themselves has a meaning; JSON, which YAML contains, does the rest. */
export const quote = (value: string): string =>
  /[\p{Cc}\u2028\u2029]/u.test(value) || count(value, "'") > count(value, '"')
    ? JSON.stringify(value).replaceAll(/[\u007F-\u009F\u2028\u2029]/g, escape)
    : `'${value.replaceAll("'", "''")}'`;

/** Breaks of lines to some parsers of YAML, and not to JSON. */
const escape = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;

const count = (text: string, character: string): number => text.split(character).length - 1;
