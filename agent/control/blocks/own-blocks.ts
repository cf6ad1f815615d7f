// The node's address blocks as it believes to hold them, brought up to date with what the API says. Pure.
//
//   held ──another node has it──▶ fenced (no new addresses) ──ours again──▶ held
//    │                               └── no pods left ──▶ forgotten
//    ├── vanished from the API ──▶ held, not used until it is created again
//    ├── the agent started, or the Node was made anew ──▶ held, not used until it is confirmed
//    └── empty and quiet ──▶ returning ──deleted──▶ returned ──vanished──▶ forgotten
import {
  type BlockIndex,
  type Cidr,
  blockCidr,
  blockOf,
  cidrsOverlap,
  formatCidr,
} from '../../../proto/address.ts';
import type { AddressBlock } from '../../../proto/api-kinds.ts';
import { decodeBlockName, formatBlockName } from '../../ipam/block-name.ts';
import type { LoggedAddressPool } from '../../ipam/address-pool.ts';
import { blockFacts } from '../cluster/object-facts.ts';

/** What claims need of the cluster view. */
export interface BlockView {
  /** `snapshot`: the API was not heard yet; absence means nothing then. */
  readonly source: 'snapshot' | 'api';
  readonly blocks: ReadonlyMap<string, AddressBlock>;
  /** By the name of the node. */
  readonly peers: ReadonlyMap<string, unknown>;
  /** Block name → time of the clock at which it vanished. */
  readonly freedBlocks: ReadonlyMap<string, number>;
  /** Block name → time of the clock since which its holder is not in the cluster. */
  readonly abandonedBlocks: ReadonlyMap<string, number>;
  /** How many of the other nodes hold no block. */
  readonly nodesWithoutBlock: number;
}

export interface NodeIdentity {
  readonly name: string;
  /** Of this incarnation of the Node object. */
  readonly uid: string;
  /** Of the state directory (state-identity.ts): another machine of the same name has another one. */
  readonly stateId: string;
}

/** A block of this node's as control tells of it. */
export interface OwnBlockState {
  readonly cidr: Cidr;
  readonly state: OwnBlock['state'];
  readonly used: number;
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
  /**
   * The API was asked for this very block and said that it is ours, under this incarnation of the Node; before the API is heard, the snapshot
   * says it. A list can be older than the block's loss, and others may have one of an earlier incarnation, so what is not is not used.
   */
  confirmed: boolean;
  /** The API was asked for it and has not answered. */
  unanswered: boolean;
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
  /** `by`: what is there instead, under the same name or over a part of it. */
  | { readonly kind: 'fenced'; readonly block: OwnBlock; readonly by: AddressBlock }
  | { readonly kind: 'regained' | 'forgotten'; readonly block: OwnBlock };

/** Annotation with the place in the node's order of claim: the first block has the bridge's address, also after everything on disk is lost. */
export const ORDER_ANNOTATION = 'weft.dev/order';
const UNKNOWN_ORDER = 1e9;

export class OwnBlocks {
  readonly #options: OwnBlocksOptions;
  readonly #blocks = new Map<string, OwnBlock>();
  /** Views are immutable, and some have many blocks. */
  #absorbed: BlockView | undefined;
  #hasHeard = false;

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

  /** A block whose place is not known, or taken, comes last. */
  settledOrder(block: OwnBlock): number {
    const others = this.list().filter((other) => other !== block);
    const isSettled = block.order < UNKNOWN_ORDER && others.every(({ order }) => order !== block.order);
    return isSettled ? block.order : this.nextOrder();
  }

  /** Takes in what the API and the pool say; returns what an operator should hear of. */
  absorb(view: BlockView, nowMs: number): readonly OwnershipChange[] {
    if (view.source === 'api' && !this.#hasHeard) {
      this.#hasHeard = true;
      for (const block of this.#blocks.values()) block.confirmed = false;
    }
    if (view !== this.#absorbed) this.#adopt(view, nowMs);
    this.#absorbed = view;
    this.#adoptUsed(view, nowMs);
    return this.list().flatMap((block) => this.#compare(block, view, nowMs) ?? []);
  }

  /** What the view says counts, of blocks that the API was asked for in vain. */
  believe(view: BlockView): void {
    const { node } = this.#options;
    for (const block of this.#blocks.values()) {
      const object = view.blocks.get(block.name);
      const isListed = object !== undefined && isHeldBy(node, object) && object.spec.nodeUid === node.uid;
      if (isListed && block.unanswered) block.confirmed = true;
    }
  }

  #adopt(view: BlockView, nowMs: number): void {
    const { node, range, blockPrefixLength } = this.#options;
    for (const object of view.blocks.values()) {
      // One of another state directory is not ours: another machine of this name may live on. One with pods is found below.
      if (!isHeldBy(node, object)) continue;
      const facts = blockFacts(object, { range, blockPrefixLength });
      if (facts === undefined || this.#blocks.has(object.metadata.name)) continue;
      this.add({ index: facts.index, order: orderOf(object), nowMs }).confirmed =
        view.source === 'snapshot' && object.spec.nodeUid === node.uid;
    }
  }

  #adoptUsed(view: BlockView, nowMs: number): void {
    const { range, blockPrefixLength, pool } = this.#options;
    for (const { address } of pool.list()) {
      const index = blockOf(range, blockPrefixLength, address);
      if (index === undefined) continue; // the range was changed; the pod keeps what it has
      const name = formatBlockName(blockCidr(range, blockPrefixLength, index));
      if (this.#blocks.has(name)) continue;
      const object = view.blocks.get(name);
      // With pods and yet unknown: the last-known state was lost. It is ours, or it turns out to be fenced.
      const block = this.add({ index, order: object === undefined ? UNKNOWN_ORDER : orderOf(object), nowMs });
      block.seen = true;
      // One that had vanished from the API when the snapshot was taken may be another node's by now.
      block.confirmed = view.source === 'snapshot' && !view.freedBlocks.has(name);
    }
  }

  #compare(block: OwnBlock, view: BlockView, nowMs: number): OwnershipChange | undefined {
    const { node, pool } = this.#options;
    const used = pool.usedIn(block.cidr);
    if (used > 0) block.emptySinceMs = undefined;
    else block.emptySinceMs ??= nowMs;
    const object = view.blocks.get(block.name);
    if (object !== undefined && isHeldBy(node, object)) {
      block.seen = true;
      block.order = orderOf(object);
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
    const by = object ?? overlapping(block, view);
    if (by === undefined) {
      // Vanished, or not yet to be seen: block-claims.ts asks for it again. What has vanished may be another node's by now.
      if (block.seen && view.source === 'api') block.confirmed = false;
      return undefined;
    }
    block.state = 'fenced';
    return { kind: 'fenced', block, by };
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
      confirmed: true,
      unanswered: false,
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

/** A block of another size that has a part of it; with one size for all nodes, and for ever, there is none. */
function overlapping({ cidr }: OwnBlock, { blocks }: BlockView): AddressBlock | undefined {
  for (const [name, object] of blocks) {
    const other = decodeBlockName(name);
    if (other.ok && cidrsOverlap(cidr, other.value)) return object;
  }
  return undefined;
}

export const isHeldBy = (node: NodeIdentity, { spec }: AddressBlock): boolean =>
  spec.node === node.name &&
  (spec.stateId === undefined ? spec.nodeUid === node.uid : spec.stateId === node.stateId);

/** The object that claims the block. Nobody owns it: it outlives the Node for as long as its addresses may be in use. */
export const blockObject = (
  block: Pick<OwnBlock, 'name' | 'cidr' | 'order'>,
  node: NodeIdentity,
): AddressBlock => ({
  apiVersion: 'weft.dev/v1alpha1',
  kind: 'AddressBlock',
  metadata: {
    name: block.name,
    annotations: { [ORDER_ANNOTATION]: String(block.order) },
  },
  spec: { cidr: formatCidr(block.cidr), node: node.name, nodeUid: node.uid, stateId: node.stateId },
});
