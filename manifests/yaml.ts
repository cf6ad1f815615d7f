// Writes plain data as YAML 1.2 in block style. Strings that YAML could take for something else are quoted as JSON, which YAML contains.

export type YamlValue =
  | string
  | number
  | boolean
  | readonly YamlValue[]
  | { readonly [key: string]: YamlValue | undefined };

// Starts with a letter, so it is no number; ": " and " #" would mean something inside it, and spaces at its end would be lost.
const PLAIN = /^[A-Za-z](?!.*(?:: |:$| #|\s$))[^\t\r\n]*$/;
const RESERVED = /^(?:true|false|null|yes|no|on|off|y|n)$/i;

/** Ends with a newline. */
export function formatYaml(value: YamlValue): string {
  return `${lines(value).join('\n')}\n`;
}

function lines(value: YamlValue): readonly string[] {
  if (isList(value)) {
    return value.flatMap((item) => {
      const [first = '', ...rest] = lines(item);
      return [`- ${first}`, ...rest.map((line) => `  ${line}`)];
    });
  }
  if (typeof value !== 'object') return [scalar(value)];
  return Object.entries(value).flatMap(([key, item]) => {
    if (item === undefined) return [];
    if (isEmpty(item)) return [`${scalar(key)}: ${isList(item) ? '[]' : '{}'}`];
    if (typeof item !== 'object') return [`${scalar(key)}: ${scalar(item)}`];
    return [`${scalar(key)}:`, ...lines(item).map((line) => `  ${line}`)];
  });
}

const isList = (value: YamlValue): value is readonly YamlValue[] => Array.isArray(value);

const isEmpty = (value: YamlValue): boolean => typeof value === 'object' && Object.keys(value).length === 0;

function scalar(value: string | number | boolean): string {
  if (typeof value !== 'string') return String(value);
  return PLAIN.test(value) && !RESERVED.test(value) ? value : JSON.stringify(value);
}
