// What must hold in a simulated cluster at every moment, checked where it could break: when an address comes to life, an interface goes, a
// block is claimed, an agent has started.
import { blockCidr, blockOf, cidrContains, formatIpv4, type Cidr, type Ipv4 } from '../../proto/address.ts';
import { parseCidr } from '../../proto/address-text.ts';
import type { AddressBlock } from '../../proto/api-kinds.ts';
import { formatBlockName } from '../../agent/ipam/block-name.ts';

export type InvariantName =
  | 'one owner per address'
  | 'address in own block'
  | 'block claimed over living pods'
  | 'written ahead'
  | 'void after a reboot'
  | 'sequence used twice'
  | 'living pod keeps its interface'
  | 'no leak'
  | 'serves after settling'
  | 'no bug of its own';

export interface Violation {
  readonly invariant: InvariantName;
  readonly text: string;
  readonly atMs: number;
}

/** Where an address is alive. */
export interface LiveAddress {
  readonly node: string;
  /** Tells machines of one node name apart. */
  readonly stateId: string;
  readonly owner: string;
}

export class Invariants {
  readonly violations: Violation[] = [];
  readonly #live = new Map<Ipv4, LiveAddress[]>();
  readonly #now: () => number;
  readonly #blocks: () => ReadonlyMap<string, AddressBlock>;
  readonly #range: Cidr;
  readonly #blockPrefixLength: number;

  constructor(options: {
    now: () => number;
    blocks: () => ReadonlyMap<string, AddressBlock>;
    range: Cidr;
    blockPrefixLength: number;
  }) {
    this.#now = options.now;
    this.#blocks = options.blocks;
    this.#range = options.range;
    this.#blockPrefixLength = options.blockPrefixLength;
  }

  get broken(): boolean {
    return this.violations.length > 0;
  }

  broke(invariant: InvariantName, text: string): void {
    this.violations.push({ invariant, text, atMs: this.#now() });
  }

  came(address: Ipv4, live: LiveAddress): void {
    const others = this.#live.get(address) ?? [];
    const [other] = others;
    const where = `${formatIpv4(address)} of ${live.owner} on ${live.node}`;
    if (other !== undefined)
      this.broke('one owner per address', `${where} is alive as ${other.owner} on ${other.node}`);
    this.#live.set(address, [...others, live]);
    const holder = this.holderOf(address);
    if (holder !== undefined && holder.stateId !== live.stateId)
      this.broke('address in own block', `${where} is in a block of ${holder.node}`);
  }

  went(address: Ipv4, live: LiveAddress): void {
    const left = (this.#live.get(address) ?? []).filter(({ owner }) => owner !== live.owner);
    if (left.length === 0) this.#live.delete(address);
    else this.#live.set(address, left);
  }

  claimed({ metadata, spec }: AddressBlock): void {
    const cidr = parseCidr(spec.cidr);
    for (const [address, owners] of this.#live) {
      if (!cidrContains(cidr, address)) continue;
      const foreign = owners.find(({ stateId }) => stateId !== spec.stateId);
      if (foreign === undefined) continue;
      this.broke(
        'block claimed over living pods',
        `${spec.node} claims ${metadata.name}, where ${foreign.owner} on ${foreign.node} lives at ${formatIpv4(address)}`,
      );
    }
  }

  /** What the API shows of the address's block. */
  holderOf(address: Ipv4): AddressBlock['spec'] | undefined {
    const index = blockOf(this.#range, this.#blockPrefixLength, address);
    if (index === undefined) return undefined;
    const name = formatBlockName(blockCidr(this.#range, this.#blockPrefixLength, index));
    return this.#blocks().get(name)?.spec;
  }
}
