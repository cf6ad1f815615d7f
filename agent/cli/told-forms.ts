// The forms that a command's answer can be told in: text for people, JSON and YAML for programs. Flags of every command that reads.
import { type YamlValue, formatYaml } from '../report/yaml.ts';
import type { Flag, Invocation } from './command.ts';

export const OUTPUT: Flag = {
  type: 'string',
  short: 'o',
  words: ['text', 'json', 'yaml'],
  meaning: 'for programs: json or yaml',
};

export interface Told {
  /** For people. */
  text(): string;
  /** For programs. */
  readonly value: object;
}

export function formatTold(told: Told, flags: Invocation['flags']): string {
  const { output } = flags;
  if (output !== 'json' && output !== 'yaml') return told.text();
  const json = JSON.stringify(told.value, undefined, 2);
  return output === 'json' ? `${json}\n` : formatYaml(JSON.parse(json) as YamlValue); // as: JSON is what YAML values are
}
