// The node's address blocks as it believes to hold them, brought up to date with what the API says. Pure.
//
//   held ──another node has it──▶ fenced (no new addresses) ──ours again──▶ held
//    │                               └── no pods left ──▶ forgotten
//    ├── vanished from the API ──▶ held, to be created again
//    └── empty and quiet ──▶ returning ──deleted──▶ returned ──vanished──▶ forgotten
import { type BlockIndex, type Cidr, blockCidr, blockOf, formatCidr } from '../../../proto/address.ts';
import type { AddressBlock } from '../../../proto/api-kinds.ts';
import { formatBlockName } from '../../ipam/block-name.ts';
import type { LoggedAddressPool } from '../../ipam/address-pool.ts';
import { blockFacts } from '../cluster/object-facts.ts';

/** What claims need of the cluster view. */
export interface BlockView {
  /** `snapshot`: the API was not heard yet; absence means nothing then. */
  readonly source: 'snapshot' | 'api';
  readonly blocks: ReadonlyMap<string, AddressBlock>;
  /** Block name → time of the clock at which it vanished. */
  readonly freedBlocks: ReadonlyMap<string, number>;
}

export interface NodeIdentity {
  readonly name: string;
  /** Of this incarnation of the Node object. */
  readonly uid: string;
}

export interface OwnBlock {
  readonly name: string;
  readonly cidr: Cidr;
  readonly index: BlockIndex;
  /** Place in the order of claim. */
  order: number;
  state: 'held' | 'fenced' | 'returning' | 'returned';
  /** The API showed it as ours. Only what was seen can vanish. */
  seen: boolean;
  /** When it was created or last asked for; an unseen one is given time to show up. */
  askedAtMs: number;
  /** Since when it has no pods, as far as we looked. */
  emptySinceMs: number | undefined;
}

export interface OwnBlocksOptions {
  readonly node: NodeIdentity;
  readonly range: Cidr;
  readonly blockPrefixLength: number;
  readonly pool: Pick<LoggedAddressPool, 'list' | 'usedIn'>;
}

export type OwnershipChange =
  | { readonly kind: 'fenced'; readonly block: OwnBlock; readonly holder: string }
  | { readonly kind: 'regained' | 'forgotten'; readonly block: OwnBlock };

/** Annotation with the place in the node's order of claim: the first block has the bridge's address, also after everything on disk is lost. */
export const ORDER_ANNOTATION = 'weft.dev/order';
export const UNKNOWN_ORDER = 1e9;

export class OwnBlocks {
  readonly #options: OwnBlocksOptions;
  readonly #blocks = new Map<string, OwnBlock>();

  constructor(options: OwnBlocksOptions) {
    this.#options = options;
  }

  /** In the order of claim. */
  list(): readonly OwnBlock[] {
    return [...this.#blocks.values()].sort((a, b) => a.order - b.order || a.index - b.index);
  }

  get(name: string): OwnBlock | undefined {
    return this.#blocks.get(name);
  }

  /** A block that this node created just now. */
  add({ index, order, nowMs }: { index: BlockIndex; order: number; nowMs: number }): OwnBlock {
    const block = this.#create({ index, order, askedAtMs: nowMs });
    this.#blocks.set(block.name, block);
    return block;
  }

  forget(name: string): void {
    this.#blocks.delete(name);
  }

  nextOrder(): number {
    const known = this.list().filter(({ order }) => order < UNKNOWN_ORDER);
    return Math.max(0, ...known.map(({ order }) => order)) + 1;
  }

  /** Takes in what the API and the pool say; returns what an operator should hear of. */
  absorb(view: BlockView, nowMs: number): readonly OwnershipChange[] {
    this.#adopt(view, nowMs);
    return this.list().flatMap((block) => this.#compare(block, view, nowMs) ?? []);
  }

  #adopt(view: BlockView, nowMs: number): void {
    const { node, range, blockPrefixLength, pool } = this.#options;
    for (const object of view.blocks.values()) {
      // Of an earlier incarnation of this node: not ours; Kubernetes collects it with the old Node. One with pods is found below.
      if (object.spec.node !== node.name || object.spec.nodeUid !== node.uid) continue;
      const facts = blockFacts(object, { range, blockPrefixLength });
      if (facts === undefined || this.#blocks.has(object.metadata.name)) continue;
      this.add({ index: facts.index, order: orderOf(object), nowMs });
    }
    for (const { address } of pool.list()) {
      const index = blockOf(range, blockPrefixLength, address);
      if (index === undefined) continue; // the range was changed; the pod keeps what it has
      const name = formatBlockName(blockCidr(range, blockPrefixLength, index));
      if (this.#blocks.has(name)) continue;
      const object = view.blocks.get(name);
      // With pods and yet unknown: the last-known state was lost. It is ours, or it turns out to be fenced.
      const block = this.add({ index, order: object === undefined ? UNKNOWN_ORDER : orderOf(object), nowMs });
      block.seen = true;
    }
  }

  #compare(block: OwnBlock, view: BlockView, nowMs: number): OwnershipChange | undefined {
    const { node, pool } = this.#options;
    const used = pool.usedIn(block.cidr);
    if (used > 0) block.emptySinceMs = undefined;
    else block.emptySinceMs ??= nowMs;
    const object = view.blocks.get(block.name);
    const holder = object?.spec.node;
    if (holder === node.name) {
      block.seen = true;
      if (object !== undefined) block.order = orderOf(object);
      if (block.state !== 'fenced') return undefined;
      block.state = 'held';
      return { kind: 'regained', block };
    }
    if (block.state === 'fenced') {
      if (used > 0) return undefined;
      this.forget(block.name);
      return { kind: 'forgotten', block };
    }
    if (block.state === 'returning' || block.state === 'returned') {
      this.forget(block.name);
      return undefined;
    }
    if (holder === undefined) return undefined; // vanished, or not yet to be seen: block-claims.ts asks for it again
    block.state = 'fenced';
    return { kind: 'fenced', block, holder };
  }

  #create({ index, order, askedAtMs }: Pick<OwnBlock, 'index' | 'order' | 'askedAtMs'>): OwnBlock {
    const { range, blockPrefixLength } = this.#options;
    const cidr = blockCidr(range, blockPrefixLength, index);
    return {
      name: formatBlockName(cidr),
      cidr,
      index,
      order,
      state: 'held',
      seen: false,
      askedAtMs,
      emptySinceMs: undefined,
    };
  }
}

/** By annotation; blocks without one come last, by age and then by address. */
function orderOf({ metadata }: AddressBlock): number {
  const text = metadata.annotations?.[ORDER_ANNOTATION] ?? '';
  return /^[1-9]\d{0,5}$/.test(text) ? Number(text) : UNKNOWN_ORDER;
}

/** The object that claims the block. It belongs to the Node: when that goes, Kubernetes collects the block. */
export const blockObject = (
  block: Pick<OwnBlock, 'name' | 'cidr' | 'order'>,
  node: NodeIdentity,
): AddressBlock => ({
  apiVersion: 'weft.dev/v1alpha1',
  kind: 'AddressBlock',
  metadata: {
    name: block.name,
    annotations: { [ORDER_ANNOTATION]: String(block.order) },
    ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: node.name, uid: node.uid }],
  },
  spec: { cidr: formatCidr(block.cidr), node: node.name, nodeUid: node.uid },
});
