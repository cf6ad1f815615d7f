// Keeps the nftables tables of firewall-rules.ts in the kernel: applies them in one transaction, and notices what a person or another
// program changed by comparing nft's listing with the one read after the last change. The listing is read only when the generation moved.
import { isDeepStrictEqual } from 'node:util';

import type { Nft, NftCommand } from '../../linux/nft.ts';
import { OperationError } from '../../operation-error.ts';
import {
  type FirewallDesired,
  firewallCommands,
  type PresentObjects,
  peerCommands,
} from './firewall-rules.ts';

export interface Firewall {
  /**
   * Idempotent; what was made, changed or restored, in words. `untouched`: nobody else has changed the tables since the last call, so they
   * are not listed, which takes processes. Throws OperationError: NFT_MISSING, NFT_REFUSED.
   */
  ensure(desired: FirewallDesired, untouched?: boolean): Promise<readonly string[]>;
}

/** Object's name → what it is; rules are gathered under their chain. */
type Listing = ReadonlyMap<string, unknown>;

interface Applied {
  readonly desired: FirewallDesired;
  readonly listing: Listing;
  readonly generation: number | undefined;
}

const TABLES = [
  ['inet', 'weft'],
  ['bridge', 'weft'],
] as const;

/** Without handles, which change by themselves. */
function essence(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(essence);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key]) => key !== 'handle')
      .map(([key, inside]) => [key, essence(inside)]),
  );
}

const sortedElements = (elements: unknown): unknown =>
  Array.isArray(elements) ? elements.map((element) => JSON.stringify(element)).sort() : elements;

const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');

function addToListing(listing: Map<string, unknown>, object: NftCommand): void {
  for (const [kind, content] of Object.entries(object)) {
    if (kind === 'metainfo' || typeof content !== 'object' || content === null) continue;
    const { family, table, chain, name, elem, expr, ...rest } = essence(content) as Record<string, unknown>; // as: an object, checked above
    const words = [family, table, chain, name].map(textOf).filter((word) => word !== '');
    const label = `${kind === 'rule' ? 'rules of chain' : kind} "${words.join(' ')}"`;
    if (kind === 'rule') {
      const rules = listing.get(label);
      listing.set(label, [...(Array.isArray(rules) ? rules : []), expr]);
    } else if (kind === 'counter') {
      listing.set(label, {}); // counts by itself
    } else if (kind === 'set' && name !== 'pods') {
      listing.set(label, { ...rest, elem: sortedElements(elem) });
    } else {
      // Also the pods: their elements are pod-guard.ts's.
      listing.set(label, rest);
    }
  }
}

async function readListing(nft: Nft): Promise<Listing> {
  const listing = new Map<string, unknown>();
  const tables = await Promise.all(TABLES.map(([family, table]) => nft.list(family, table)));
  for (const object of tables.flatMap((objects) => objects ?? [])) addToListing(listing, object);
  return listing;
}

/** Names of the objects of a kind in a table, such as "inet weft". */
function namesIn(listing: Listing, kind: string, table: string): readonly string[] {
  const start = `${kind} "${table} `;
  return [...listing.keys()]
    .filter((label) => label.startsWith(start))
    .map((label) => label.slice(start.length, -1));
}

const presentObjects = (listing: Listing): PresentObjects => ({
  inetChains: namesIn(listing, 'chain', 'inet weft'),
  inetSets: namesIn(listing, 'set', 'inet weft'),
  bridgeChains: namesIn(listing, 'chain', 'bridge weft'),
});

/** `verb` for what is there but different. A table that is made is one line, without what is in it. */
function differences(before: Listing, after: Listing, verb: 'changed' | 'restored'): readonly string[] {
  const newTables = TABLES.map(([family, name]) => `"${family} ${name}`).filter(
    (table) => !before.has(`table ${table}"`),
  );
  const inNewTable = (name: string): boolean => newTables.some((table) => name.includes(`${table} `));
  const made = [...after.keys()].filter((name) => !before.has(name) && !inNewTable(name));
  const different = [...after].filter(
    ([name, content]) => before.has(name) && !isDeepStrictEqual(before.get(name), content),
  );
  const removed = [...before.keys()].filter((name) => !after.has(name));
  return [
    ...made.map((name) => `made nftables ${name}`),
    ...different.map(([name]) => `${verb} nftables ${name}`),
    ...removed.map((name) => `removed nftables ${name}`),
  ];
}

const withoutPeers = ({ peerAddresses: _peers, ...rest }: FirewallDesired): unknown => rest;

export interface FirewallPorts {
  readonly nft: Nft;
  /** See PodGuard. */
  readonly generation: () => number | undefined;
}

export function createFirewall({ nft, generation }: FirewallPorts): Firewall {
  let applied: Applied | undefined;

  return {
    async ensure(desired, untouched = false) {
      // Read before the listing: a change in between shows next time.
      const current = generation();
      const unchanged = isDeepStrictEqual(applied?.desired, desired);
      const same = untouched || (current !== undefined && current === applied?.generation);
      if (applied !== undefined && unchanged && same) return [];
      const before = await readListing(nft);
      const intact = applied !== undefined && isDeepStrictEqual(before, applied.listing);
      if (applied !== undefined && intact && unchanged) {
        applied = { ...applied, generation: current };
        return [];
      }
      const onlyPeers =
        intact && isDeepStrictEqual(withoutPeers(desired), applied && withoutPeers(applied.desired));
      await nft.apply(
        onlyPeers ? peerCommands(desired.peerAddresses) : firewallCommands(desired, presentObjects(before)),
      );
      if (applied !== undefined && unchanged) {
        // A repair gives what was there before. Whether it did is seen at the next look: each listing is a process.
        const words = differences(before, applied.listing, 'restored');
        applied = { ...applied, generation: undefined };
        return words;
      }
      const seen = generation();
      const listing = await readListing(nft);
      if (listing.size === 0) {
        throw new OperationError('Cannot read the nftables tables "weft" back: nft lists nothing', {
          code: 'NFT_REFUSED',
        });
      }
      applied = { desired, listing, generation: seen };
      return differences(before, listing, 'changed');
    },
  };
}
