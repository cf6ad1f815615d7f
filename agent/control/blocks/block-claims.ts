// Claims address blocks: the first one on join, one spare ahead of need, others back when they were empty for a while. Creating the
// object is the claim; ALREADY_EXISTS means to choose another. One decision and at most one API write a step; nothing while idle.
// Invariant: addresses are given out only of blocks that the API was seen to accept as ours and that no other node was seen to hold.
import { type Cidr, blockCidr, formatCidr } from '../../../proto/address.ts';
import { formatBlockName } from '../../ipam/block-name.ts';
import type { LoggedAddressPool } from '../../ipam/address-pool.ts';
import type { ClusterApi } from '../../kube/api-client.ts';
import { codeOf } from '../../operation-error.ts';
import { type Logger, errorFields } from '../../telemetry/logger.ts';
import { RewritePace } from '../rewrite-pace.ts';
import { withRemedy } from '../cluster/api-remedy.ts';
import { ClaimBackoff } from './claim-backoff.ts';
import { ClaimChoice, type ClaimChoiceOptions } from './claim-choice.ts';
import {
  type BlockView,
  type NodeIdentity,
  type OwnBlock,
  OwnBlocks,
  UNKNOWN_ORDER,
  blockObject,
} from './own-blocks.ts';

export interface BlockClaimsOptions extends ClaimChoiceOptions {
  readonly node: NodeIdentity;
  /** How long an empty block, other than the first, is kept. */
  readonly quietMs: number;
  /** Blocks that one node may hold. */
  readonly maxBlocks?: number;
  readonly api: Pick<ClusterApi, 'createBlock' | 'deleteBlock'>;
  readonly view: () => BlockView;
  readonly pool: Pick<LoggedAddressPool, 'list' | 'usedIn' | 'setBlocks' | 'usage'>;
  /** Milliseconds of the clock that `freedBlocks` is told in. */
  readonly now: () => number;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

export interface BlockClaims {
  /** Call again after so many milliseconds, or earlier when the view or the pool changed; undefined: only then. Never throws; one at a time. */
  step(): Promise<number | undefined>;
  /** What addresses are given out of, in the order of claim. */
  usable(): readonly Cidr[];
  state(): readonly OwnBlockState[];
  /** 1 while a block is wanted and none could be had. */
  pendingClaims(): number;
}

export interface OwnBlockState {
  readonly cidr: Cidr;
  readonly state: OwnBlock['state'];
  readonly used: number;
}

const MAX_BLOCKS = 64;
/** A block that was asked for and is not in the view after so long is asked for again. */
const VIEW_LAG_MS = 30_000;
export const createBlockClaims = (options: BlockClaimsOptions): BlockClaims => new Claims(options);

class Claims implements BlockClaims {
  readonly #options: BlockClaimsOptions;
  readonly #own: OwnBlocks;
  readonly #retry: ClaimBackoff;
  readonly #choice: ClaimChoice;
  /** Of blocks that vanished, by name. */
  readonly #restores = new Map<string, RewritePace>();
  #poolBlocks = '';
  #isPending = false;
  #isExhausted = false;

  constructor(options: BlockClaimsOptions) {
    this.#options = options;
    this.#own = new OwnBlocks(options);
    this.#choice = new ClaimChoice(options);
    this.#retry = new ClaimBackoff(options.random);
    this.#absorb();
  }

  usable(): readonly Cidr[] {
    return this.#inState('held').map(({ cidr }) => cidr);
  }

  state(): readonly OwnBlockState[] {
    const { pool } = this.#options;
    return this.#own.list().map(({ cidr, state }) => ({ cidr, state, used: pool.usedIn(cidr) }));
  }

  pendingClaims(): number {
    return this.#isPending ? 1 : 0;
  }

  async step(): Promise<number | undefined> {
    this.#absorb();
    const now = this.#options.now();
    const pauseMs = this.#retry.remaining(now);
    if (this.#options.view().source === 'snapshot') return undefined;
    const missing = this.#missing(now);
    const wanted = missing === undefined && this.#isClaimWanted();
    this.#isPending = wanted;
    if (pauseMs > 0) return pauseMs;
    if (missing !== undefined) return this.#restore(missing);
    if (wanted) return this.#claim();
    this.#isExhausted = false;
    const giving = this.#inState('returning')[0] ?? this.#emptied(now);
    if (giving !== undefined) return this.#giveBack(giving);
    return this.#nextLook(now);
  }

  #absorb(): void {
    const { view, now, log } = this.#options;
    for (const change of this.#own.absorb(view(), now())) {
      const { block } = change;
      const fields = { block: block.name };
      switch (change.kind) {
        case 'fenced':
          log.warn(
            'block_fenced',
            `Block ${block.name} of this node is held by node "${change.holder}" now: no new addresses from it. Delete the pods of this node that have one of its addresses`,
            { ...fields, holder: change.holder },
          );
          break;
        case 'regained':
          log.info('block_unfenced', `Block ${block.name} is held by this node again`, fields);
          break;
        case 'forgotten':
          log.info(
            'block_unfenced',
            `No pod of this node has an address of the lost block ${block.name} any more`,
            fields,
          );
          break;
        default:
          change satisfies never;
      }
    }
    this.#tellPool();
  }

  /** The pool hears of the blocks when they changed. */
  #tellPool(): void {
    const usable = this.usable();
    const text = usable.map(formatCidr).join(' ');
    if (text === this.#poolBlocks) return;
    this.#poolBlocks = text;
    this.#options.pool.setBlocks(usable);
  }

  #inState(state: OwnBlock['state']): readonly OwnBlock[] {
    return this.#own.list().filter((block) => block.state === state);
  }

  /** A block of ours that the API does not have. */
  #missing(now: number): OwnBlock | undefined {
    const { blocks } = this.#options.view();
    return this.#inState('held').find(
      ({ name, seen, askedAtMs }) =>
        !blocks.has(name) &&
        (seen || now - askedAtMs >= VIEW_LAG_MS) &&
        (this.#restores.get(name)?.remaining(now) ?? 0) === 0,
    );
  }

  async #restore(block: OwnBlock): Promise<number | undefined> {
    const { api, node, log, now } = this.#options;
    block.order = this.#settledOrder(block);
    try {
      await api.createBlock(blockObject(block, node));
    } catch (error) {
      // The view will show whose it is.
      if (codeOf(error) !== 'ALREADY_EXISTS') return this.#failed(error);
      block.seen = false;
      block.askedAtMs = now();
      return 0;
    }
    this.#retry.succeeded();
    block.seen = false;
    block.askedAtMs = now();
    const pace = this.#restores.get(block.name) ?? new RewritePace();
    this.#restores.set(block.name, pace);
    const again =
      pace.wrote(block.askedAtMs) < 2 ? '' : `; it keeps vanishing: check that Node "${node.name}" exists`;
    log.warn(
      'block_restored',
      `Block ${block.name} of this node had vanished from the API and was created again${again}`,
      { block: block.name },
    );
    return 0;
  }

  /** A block whose place is not known, or taken, comes last. */
  #settledOrder(block: OwnBlock): number {
    const others = this.#own.list().filter((other) => other !== block);
    const isSettled = block.order < UNKNOWN_ORDER && others.every(({ order }) => order !== block.order);
    return isSettled ? block.order : this.#own.nextOrder();
  }

  #isClaimWanted(): boolean {
    const { pool, blockPrefixLength, maxBlocks = MAX_BLOCKS } = this.#options;
    const oneBlock = 2 ** (32 - blockPrefixLength);
    return pool.usage().free < oneBlock && this.#inState('held').length < maxBlocks;
  }

  async #claim(): Promise<number | undefined> {
    const { api, node, log, now, range, blockPrefixLength } = this.#options;
    const own = this.#own.list().map((block) => block.index);
    const index = this.#choice.choose(this.#options.view(), own, now());
    if (index === undefined) return this.#exhausted(now());
    this.#isExhausted = false;
    const cidr = blockCidr(range, blockPrefixLength, index);
    const order = this.#own.nextOrder();
    const name = formatBlockName(cidr);
    try {
      await api.createBlock(blockObject({ name, cidr, order }, node));
    } catch (error) {
      if (codeOf(error) !== 'ALREADY_EXISTS') {
        this.#choice.notAnswered(index);
        return this.#failed(error);
      }
      this.#choice.lost(index, now());
      log.info('block_contested', `Another node was faster with block ${name}; choosing another`, {
        block: name,
      });
      return this.#retry.lostRace(now());
    }
    this.#choice.won();
    this.#isPending = false;
    this.#retry.succeeded();
    // The view may have been faster than the answer.
    if (this.#own.get(name) === undefined) this.#own.add({ index, order, nowMs: now() });
    this.#tellPool();
    log.info('block_claimed', `Block ${name} is held by this node`, { block: name });
    return 0;
  }

  #exhausted(now: number): number {
    const { log, range, view } = this.#options;
    if (!this.#isExhausted) {
      this.#isExhausted = true;
      const { size } = view().blocks;
      log.warn(
        'range_exhausted',
        `No block of ${formatCidr(range)} is left to claim: ${size} are held, others wait in quarantine. Remove nodes, or use a larger range`,
        { range: formatCidr(range), held: size },
      );
    }
    return this.#choice.retryAfterMs(view(), now);
  }

  /** The latest block that is not needed any more: empty long enough, and one block's worth is free without it. */
  #emptied(now: number): OwnBlock | undefined {
    const { pool, blockPrefixLength, quietMs } = this.#options;
    const oneBlock = 2 ** (32 - blockPrefixLength);
    if (pool.usage().free - oneBlock < oneBlock) return undefined;
    const held = this.#inState('held');
    return held
      .slice(1)
      .findLast(
        ({ emptySinceMs, seen }) => seen && emptySinceMs !== undefined && now - emptySinceMs >= quietMs,
      );
  }

  async #giveBack(block: OwnBlock): Promise<number | undefined> {
    const { api, view, log } = this.#options;
    // No address of it is given out from here on, whatever becomes of the request.
    block.state = 'returning';
    this.#tellPool();
    const metadata = view().blocks.get(block.name)?.metadata;
    try {
      if (metadata?.uid !== undefined) await api.deleteBlock(block.name, { uid: metadata.uid });
    } catch (error) {
      const code = codeOf(error);
      // Gone already, or by now somebody else's object of the same name: not ours in either case.
      if (code !== 'NOT_FOUND' && code !== 'CONFLICT') return this.#failed(error);
    }
    this.#retry.succeeded();
    // The view may still show it.
    if (view().blocks.has(block.name)) block.state = 'returned';
    else this.#own.forget(block.name);
    log.info('block_released', `Block ${block.name} was empty and was given back`, { block: block.name });
    return 0;
  }

  #failed(error: unknown): number {
    this.#options.log.warn('block_claim_failed', withRemedy(error), errorFields(error));
    return this.#retry.failed(this.#options.now());
  }

  /** When something happens by the passing of time alone. */
  #nextLook(now: number): number | undefined {
    const { quietMs, view } = this.#options;
    const ends: number[] = [];
    for (const [at, { name, seen, askedAtMs, emptySinceMs }] of this.#inState('held').entries()) {
      if (!view().blocks.has(name)) {
        ends.push(seen ? now + (this.#restores.get(name)?.remaining(now) ?? 0) : askedAtMs + VIEW_LAG_MS);
      }
      if (at > 0 && emptySinceMs !== undefined) ends.push(emptySinceMs + quietMs);
    }
    const waits = ends.map((end) => end - now).filter((wait) => wait > 0);
    return waits.length === 0 ? undefined : Math.min(...waits);
  }
}
