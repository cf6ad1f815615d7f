// Claims address blocks: the first one on join, one spare ahead of need unless the last ones are left for nodes that have none; gives others
// back when they were empty for a while. Creating the object is the claim; ALREADY_EXISTS means to choose another. One decision a step, and
// one API request, but for questions about several blocks; nothing while idle.
// Invariant: addresses are given out only of blocks that the API was seen to accept as ours, under the Node as it is now, and that no
// other node was seen to hold; after a start, of blocks that it was asked for one by one, if it answers in time.
import { type Cidr, blockCidr, formatCidr } from '../../../proto/address.ts';
import { formatBlockName } from '../../ipam/block-name.ts';
import type { LoggedAddressPool } from '../../ipam/address-pool.ts';
import type { ClusterApi } from '../../kube/api-client.ts';
import { codeOf } from '../../operation-error.ts';
import type { ClaimOutcome } from '../../telemetry/ipam-metrics.ts';
import { type Logger, errorFields } from '../../telemetry/logger.ts';
import { LastingFailure } from '../../telemetry/told-once.ts';
import { RewritePace } from '../rewrite-pace.ts';
import { withRemedy } from '../cluster/api-remedy.ts';
import type { Trouble } from '../trouble.ts';
import { AbandonedBlocks } from './abandoned-blocks.ts';
import { BlockConfirmation, type BlockConfirmationOptions } from './block-confirmation.ts';
import { BlockDemand, type BlockDemandOptions } from './block-demand.ts';
import { ClaimBackoff } from './claim-backoff.ts';
import { ClaimChoice, type ClaimChoiceOptions } from './claim-choice.ts';
import {
  type NodeIdentity,
  type OwnBlock,
  OwnBlocks,
  type OwnBlockState,
  type BlockView,
  type OwnershipChange,
  blockObject,
} from './own-blocks.ts';

export interface BlockClaimsOptions
  extends
    ClaimChoiceOptions,
    Omit<BlockDemandOptions, 'held' | 'left'>,
    Omit<BlockConfirmationOptions, 'own'> {
  /** Milliseconds of the clock that `freedBlocks` is told in. */
  readonly now: () => number;
  readonly view: () => BlockView;
  readonly api: Pick<
    ClusterApi,
    'createBlock' | 'replaceBlock' | 'deleteBlock' | 'getBlock' | 'getPeer' | 'getNode'
  >;
  readonly pool: Pick<LoggedAddressPool, 'list' | 'usedIn' | 'setBlocks' | 'usage'>;
  readonly log: Pick<Logger, 'debug' | 'info' | 'warn'>;
  /** Makes durable which blocks are this node's; false when it cannot be done now. */
  readonly saved: () => Promise<boolean>;
  /** Told of each attempt to claim a block; `seconds`: since one was wanted. */
  readonly claimed?: ((attempt: ClaimAttempt) => void) | undefined;
}

export interface ClaimAttempt {
  readonly outcome: ClaimOutcome;
  readonly seconds: number;
}

export interface BlockClaims {
  /** Call again after so many milliseconds, or earlier when the view or the pool changed; undefined: only then. Never throws; one at a time. */
  step(): Promise<number | undefined>;
  /** Takes in what the view says, at once and without a request: a step under way may wait for an answer. */
  look(): void;
  /** The API was asked about the blocks that it listed and keeps silent: from now on what it listed counts. */
  believe(): void;
  /** Once the API is heard: whether each block of this node is known to be its own. */
  isSettled(): boolean;
  /** Whether this node is about to give the block back, or did: it is not its own any more, whatever the view says. */
  isGivenBack(name: string): boolean;
  /** What addresses are given out of, in the order of claim. */
  usable(): readonly Cidr[];
  state(): readonly OwnBlockState[];
  /** 1 while a block is wanted and none could be had. */
  pendingClaims(): number;
  /** Why pods cannot be attached for want of a block, where a person has to do something. */
  trouble(): Trouble | undefined;
}

type FencedBlock = Extract<OwnershipChange, { kind: 'fenced' }>;

/** A block that was asked for and is not in the view after so long is asked for again. */
const VIEW_LAG_MS = 30_000;
/** A block that vanished so often in a row did not by accident. */
const CONTESTED = 2;
export const createBlockClaims = (options: BlockClaimsOptions): BlockClaims => new Claims(options);

class Claims implements BlockClaims {
  readonly #options: BlockClaimsOptions;
  readonly #own: OwnBlocks;
  readonly #retry: ClaimBackoff;
  readonly #failure = new LastingFailure();
  readonly #choice: ClaimChoice;
  /** Of blocks that vanished, by name. */
  readonly #restores = new Map<string, RewritePace>();
  #poolBlocks = '';
  #isPending = false;
  #wantedSinceMs: number | undefined;
  #isExhausted = false;
  readonly #demand: BlockDemand;
  readonly #abandoned: AbandonedBlocks;
  readonly #confirmation: BlockConfirmation;

  constructor(options: BlockClaimsOptions) {
    this.#options = options;
    this.#own = new OwnBlocks(options);
    this.#choice = new ClaimChoice(options);
    this.#retry = new ClaimBackoff(options.random);
    this.#demand = new BlockDemand({
      ...options,
      held: () => this.#inState('held'),
      left: (now) => this.#left(now),
    });
    this.#abandoned = new AbandonedBlocks(options);
    this.#confirmation = new BlockConfirmation({ ...options, own: this.#own });
    this.look();
  }

  usable(): readonly Cidr[] {
    return this.#inState('held').flatMap(({ cidr, confirmed }) => (confirmed ? [cidr] : []));
  }

  state(): readonly OwnBlockState[] {
    const { pool } = this.#options;
    return this.#own.list().map(({ cidr, state }) => ({ cidr, state, used: pool.usedIn(cidr) }));
  }

  isGivenBack(name: string): boolean {
    const state = this.#own.get(name)?.state;
    return state === 'returning' || state === 'returned';
  }

  isSettled(): boolean {
    return this.#inState('held').every(({ confirmed }) => confirmed);
  }

  pendingClaims(): number {
    return this.#isPending ? 1 : 0;
  }

  async step(): Promise<number | undefined> {
    const delayMs = await this.#decide();
    const { view, now } = this.#options;
    if (view().source === 'snapshot' || delayMs === 0) return delayMs;
    const abandonedMs = this.#abandoned.remaining(view(), now());
    // A pause after a failure holds for this as well.
    const restMs =
      abandonedMs === undefined ? undefined : Math.max(abandonedMs, this.#retry.remaining(now()));
    const delays = [delayMs, restMs].filter((delay) => delay !== undefined);
    return delays.length === 0 ? undefined : Math.min(...delays);
  }

  /** When to look again on account of this node's own blocks. */
  async #decide(): Promise<number | undefined> {
    this.look();
    const now = this.#options.now();
    const pauseMs = this.#retry.remaining(now);
    if (this.#options.view().source === 'snapshot') return undefined;
    const missing = this.#missing(now);
    const { blocks } = this.#options.view();
    const unconfirmed = this.#inState('held').filter(({ confirmed }) => !confirmed);
    const listed = unconfirmed.filter(({ name }) => blocks.has(name));
    // What is to be confirmed, or made again, may be enough.
    const wanted = missing === undefined && unconfirmed.length === 0 && this.#demand.isClaimWanted(now);
    this.#isPending = wanted;
    this.#wantedSinceMs = wanted ? (this.#wantedSinceMs ?? now) : undefined;
    if (pauseMs > 0) return pauseMs;
    if (listed.length > 0) return this.#confirm(listed);
    if (missing !== undefined) return this.#restore(missing);
    // Before claims: it may be the last block that there is.
    if (this.#abandoned.remaining(this.#options.view(), now) === 0) {
      await this.#abandoned.takeBack(this.#options.view(), now);
      return 0;
    }
    const giving = this.#inState('returning')[0] ?? this.#demand.emptied(now);
    if (giving !== undefined) return this.#giveBack(giving);
    if (wanted) return this.#claim();
    this.#isExhausted = false;
    return this.#nextLook(now);
  }

  look(): void {
    const { view, node, now, log } = this.#options;
    const current = view();
    for (const change of this.#own.absorb(current, now())) {
      const { block } = change;
      const fields = { block: block.name };
      switch (change.kind) {
        case 'fenced':
          log.warn('block_fenced', fencedWords(change, node), { ...fields, holder: change.by.spec.node });
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

  believe(): void {
    this.look();
    this.#own.believe(this.#options.view());
    this.#tellPool();
  }

  /** The pool hears of the blocks when they changed. */
  #tellPool(): void {
    const usable = this.usable();
    const text = usable.map(formatCidr).join(' ');
    if (text === this.#poolBlocks) return;
    this.#poolBlocks = text;
    this.#options.pool.setBlocks(
      usable,
      this.#inState('held').map(({ cidr }) => cidr),
    );
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
    block.order = this.#own.settledOrder(block);
    try {
      await api.createBlock(blockObject(block, node));
    } catch (error) {
      // The view will show whose it is.
      if (codeOf(error) !== 'ALREADY_EXISTS') return this.#failed(error);
      block.seen = false;
      block.askedAtMs = now();
      return 0;
    }
    this.#succeeded();
    block.seen = false;
    block.confirmed = true;
    block.askedAtMs = now();
    const pace = this.#restores.get(block.name) ?? new RewritePace();
    this.#restores.set(block.name, pace);
    const inRow = pace.wrote(block.askedAtMs);
    const message = `Block ${block.name} of this node had vanished from the API and was created again`;
    const fields = { block: block.name };
    if (inRow > CONTESTED) log.debug('block_restored', message, fields);
    else {
      const remedy =
        inRow < CONTESTED
          ? 'leave AddressBlocks to the agents'
          : `it keeps vanishing, and this goes on without being told again: check that Node "${node.name}" exists, and who deletes AddressBlocks`;
      log.warn('block_restored', `${message}; ${remedy}`, fields);
    }
    return 0;
  }

  /** All at once: each is waited for only so long. */
  async #confirm(blocks: readonly OwnBlock[]): Promise<number | undefined> {
    const answers = await Promise.allSettled(blocks.map((block) => this.#confirmation.ask(block)));
    this.#tellPool();
    const failed = answers.find((answer) => answer.status === 'rejected');
    if (failed !== undefined) return this.#failed(failed.reason);
    if (!blocks.every(({ confirmed }) => confirmed)) return this.#retry.lostRace(this.#options.now());
    this.#succeeded();
    return 0;
  }

  trouble(): Trouble | undefined {
    const { pool } = this.#options;
    if (pool.usage().free > 0) return undefined;
    if (this.#isExhausted) return { code: 'RANGE_EXHAUSTED', message: this.#exhaustion() };
    return this.#demand.limit();
  }

  #left(now: number): number {
    const own = this.#own.list().map((block) => block.index);
    return this.#choice.left(this.#options.view(), own, now);
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
        this.#tellAttempt('failed');
        return this.#failed(error);
      }
      this.#choice.lost(index, now());
      this.#tellAttempt('contested');
      log.info('block_contested', `Another node was faster with block ${name}; choosing another`, {
        block: name,
      });
      return this.#retry.lostRace(now());
    }
    this.#choice.won();
    this.#tellAttempt('claimed');
    this.#isPending = false;
    this.#wantedSinceMs = undefined;
    this.#succeeded();
    // The view may have been faster than the answer.
    const block = this.#own.get(name) ?? this.#own.add({ index, order, nowMs: now() });
    block.confirmed = true;
    this.#tellPool();
    log.info('block_claimed', `Block ${name} is held by this node`, { block: name });
    return 0;
  }

  #tellAttempt(outcome: ClaimOutcome): void {
    const nowMs = this.#options.now();
    this.#options.claimed?.({ outcome, seconds: (nowMs - (this.#wantedSinceMs ?? nowMs)) / 1000 });
  }

  #exhausted(now: number): number {
    const { log, range, view } = this.#options;
    if (!this.#isExhausted) {
      this.#isExhausted = true;
      const fields = { range: formatCidr(range), held: view().blocks.size };
      log.warn('range_exhausted', this.#exhaustion(), fields);
    }
    return this.#choice.retryAfterMs(view(), now);
  }

  #exhaustion(): string {
    const { range, view } = this.#options;
    return `No block of ${formatCidr(range)} is left to claim: ${view().blocks.size} are held, others wait in quarantine. Remove nodes, or use a larger range`;
  }

  async #giveBack(block: OwnBlock): Promise<number | undefined> {
    const { api, view, log, now, saved } = this.#options;
    // No address of it is given out from here on, whatever becomes of the request, also after a restart.
    block.state = 'returning';
    this.#tellPool();
    if (!(await saved())) return this.#retry.failed(now());
    const metadata = view().blocks.get(block.name)?.metadata;
    try {
      if (metadata?.uid !== undefined) await api.deleteBlock(block.name, { uid: metadata.uid });
    } catch (error) {
      const code = codeOf(error);
      // Gone already, or by now somebody else's object of the same name: not ours in either case.
      if (code !== 'NOT_FOUND' && code !== 'CONFLICT') return this.#failed(error);
    }
    this.#succeeded();
    // The view may still show it.
    if (view().blocks.has(block.name)) block.state = 'returned';
    else this.#own.forget(block.name);
    log.info('block_released', `Block ${block.name} was empty and was given back`, { block: block.name });
    return 0;
  }

  /** A line of its own says what succeeded. */
  #succeeded(): void {
    this.#retry.succeeded();
    this.#failure.isOver();
  }

  #failed(error: unknown): number {
    const isStopping = codeOf(error) === 'ABORTED';
    if (!isStopping && this.#failure.isNews(codeOf(error))) {
      this.#options.log.warn('block_claim_failed', withRemedy(error), errorFields(error));
    }
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

function fencedWords({ block, by }: FencedBlock, node: NodeIdentity): string {
  const holder = by.spec.node;
  if (by.metadata.name !== block.name) {
    return `Block ${block.name} of this node overlaps block ${by.metadata.name} of node "${holder}": no new addresses from it. Give WEFT_BLOCK_PREFIX one value on all nodes, the one that it had`;
  }
  return holder === node.name
    ? `Block ${block.name} was claimed with another state directory than this one: no new addresses from it. It is given back when no pod has one of its addresses`
    : `Block ${block.name} of this node is held by node "${holder}" now: no new addresses from it. Delete the pods of this node that have one of its addresses`;
}
