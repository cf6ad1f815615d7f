// The nftables rules of a node as its commands read them: chains with their rules, and the sets and maps that rules look into. Made of
// what `nft -j list ruleset` says; the text of a rule is nft's own, found by its handle.
import type { NftCommand } from '../linux/nft.ts';

export interface NftRule {
  readonly handle: number;
  readonly comment: string | undefined;
  /** Statements, as libnftables-json(5) has them. */
  readonly expressions: readonly unknown[];
  readonly text: string;
}

export interface NftChain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  /** Of a chain that the kernel calls: filter, nat, route. */
  readonly type: string | undefined;
  readonly hook: string | undefined;
  /** Of family netdev and, at ingress, inet. */
  readonly devices: readonly string[];
  readonly priority: number;
  readonly policy: string;
  readonly rules: readonly NftRule[];
}

export interface NftSet {
  readonly kind: 'set' | 'map';
  readonly family: string;
  readonly table: string;
  readonly name: string;
  readonly elements: readonly unknown[];
}

export interface Ruleset {
  readonly chains: readonly NftChain[];
  /** By setKey(). */
  readonly sets: ReadonlyMap<string, NftSet>;
}

type Fields = Readonly<Record<string, unknown>>;

export const setKey = (family: string, table: string, name: string): string => `${family} ${table} ${name}`;

/** Of Nft.listAll() and, where the rules' own text is wanted, Nft.listText(). */
export function readRuleset(objects: readonly NftCommand[], text: string = ''): Ruleset {
  const { rules: texts, devices } = textsOf(text);
  const chains = new Map<string, NftChain & { readonly rules: NftRule[] }>();
  const sets = new Map<string, NftSet>();
  for (const object of objects) {
    const [kind, value] = Object.entries(object)[0] ?? [];
    if (typeof value !== 'object' || value === null) continue;
    const fields = value as Fields; // as: an object, checked above
    const family = textOf(fields['family']) ?? '';
    const table = textOf(fields['table']) ?? '';
    const name = textOf(fields['name']) ?? '';
    const key = setKey(family, table, name);
    if (kind === 'chain') {
      chains.set(key, {
        family,
        table,
        name,
        type: textOf(fields['type']),
        hook: textOf(fields['hook']),
        devices: devicesOf(fields['dev']) ?? devices.get(key) ?? [],
        priority: typeof fields['prio'] === 'number' ? fields['prio'] : 0,
        policy: textOf(fields['policy']) ?? 'accept',
        rules: [],
      });
    } else if (kind === 'set' || kind === 'map') {
      sets.set(key, { kind, family, table, name, elements: listOf(fields['elem']) });
    } else if (kind === 'rule') {
      const handle = Number(fields['handle'] ?? 0);
      chains.get(setKey(family, table, textOf(fields['chain']) ?? ''))?.rules.push({
        handle,
        comment: textOf(fields['comment']),
        expressions: listOf(fields['expr']),
        text: texts.get(`${family} ${table} ${handle}`) ?? '',
      });
    }
  }
  return { chains: [...chains.values()], sets };
}

/** One name, or a list of them; nft 1.0.6 leaves them out. */
const devicesOf = (dev: unknown): readonly string[] | undefined =>
  typeof dev === 'string' ? [dev] : Array.isArray(dev) ? dev.map(String) : undefined;

interface Texts {
  /** "family table handle" → the rule as nft writes it. */
  readonly rules: ReadonlyMap<string, string>;
  /** "family table chain" → its devices. */
  readonly devices: ReadonlyMap<string, readonly string[]>;
}

function textsOf(listing: string): Texts {
  const rules = new Map<string, string>();
  const devices = new Map<string, readonly string[]>();
  let table = '';
  let chain = '';
  for (const line of listing.split('\n')) {
    const [, family, name] = /^table (\S+) (\S+) \{/.exec(line) ?? [];
    if (family !== undefined) table = `${family} ${name}`;
    chain = /^\tchain (\S+) \{/.exec(line)?.[1] ?? chain;
    const [, named] = /^\t\ttype \S+ hook \S+ devices? (?:= )?(.+?) priority /.exec(line) ?? [];
    if (named !== undefined) devices.set(`${table} ${chain}`, named.match(/[^\s{},"]+/g) ?? []);
    const [, words, handle] = /^\t\t(.*) # handle (\d+)$/.exec(line) ?? [];
    if (words !== undefined) rules.set(`${table} ${handle}`, words.trim());
  }
  return { rules, devices };
}

const textOf = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);
const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
