// Takes back blocks whose holder is not in the cluster any more: its Node was deleted, or another machine came under its name. Every agent
// does it for nodes that are gone, at a time of its own; the first one spares the rest the work. Invariant: nothing is taken back before the
// quarantine is over, nor when the holder came back: it confirms its blocks before it uses them, so the version that was read before the
// Node was asked for is not the one that is there any more (docs/decisions/0015).
import { type Logger, errorFields } from '../../telemetry/logger.ts';
import type { ClusterApi } from '../../kube/api-client.ts';
import { codeOf } from '../../operation-error.ts';
import { LastingFailure } from '../../telemetry/told-once.ts';
import { withRemedy } from '../cluster/api-remedy.ts';
import type { BlockView, NodeIdentity } from './own-blocks.ts';

export interface AbandonedBlocksOptions {
  readonly node: NodeIdentity;
  /** How long the holder has to be gone. */
  readonly quarantineMs: number;
  readonly api: Pick<ClusterApi, 'getNode' | 'getPeer' | 'getBlock' | 'deleteBlock'>;
  readonly random: () => number;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

/** Agents that all saw the same Node go do not ask all at once. */
const JITTER_MS = 60_000;
/** After a look that freed nothing. */
const AGAIN_MS = 60_000;

export class AbandonedBlocks {
  readonly #options: AbandonedBlocksOptions;
  readonly #failure = new LastingFailure();
  /** Block → when to look at it. */
  readonly #dueAt = new Map<string, number>();

  constructor(options: AbandonedBlocksOptions) {
    this.#options = options;
  }

  /** Milliseconds until there is something to take back; 0 = now, undefined = nothing is abandoned. */
  remaining(view: BlockView, nowMs: number): number | undefined {
    this.#schedule(view);
    const ends = [...this.#dueAt.values()];
    return ends.length === 0 ? undefined : Math.max(0, Math.min(...ends) - nowMs);
  }

  /** Looks after the one that is due the longest. Never throws. */
  async takeBack(view: BlockView, nowMs: number): Promise<void> {
    const [name] = [...this.#dueAt].toSorted(([, a], [, b]) => a - b)[0] ?? [];
    if (name === undefined) return;
    const { log, quarantineMs } = this.#options;
    try {
      const isFree = await this.#isTakenBack(name);
      this.#failure.isOver(); // no line: there is one for each block that is free again
      if (isFree) {
        const seconds = Math.round((nowMs - (view.abandonedBlocks.get(name) ?? nowMs)) / 1000);
        const holder = view.blocks.get(name)?.spec.node ?? '';
        log.info(
          'block_reclaimed',
          `Block ${name} is free again: node "${holder}" has been gone for ${seconds} s`,
          { block: name, holder },
        );
      }
    } catch (error) {
      if (this.#failure.isNews(codeOf(error))) {
        log.warn('block_reclaim_failed', withRemedy(error), errorFields(error));
      }
    }
    // The view shows that it is gone; where it is not, there was a reason.
    this.#dueAt.set(name, nowMs + Math.max(quarantineMs, AGAIN_MS) + this.#jitter());
  }

  #schedule(view: BlockView): void {
    const mine = [...view.abandonedBlocks].filter(([name]) => this.#isToLookAfter(name, view));
    const names = new Set(mine.map(([name]) => name));
    for (const name of this.#dueAt.keys()) if (!names.has(name)) this.#dueAt.delete(name);
    for (const [name, sinceMs] of mine) {
      if (!this.#dueAt.has(name))
        this.#dueAt.set(name, sinceMs + this.#options.quarantineMs + this.#jitter());
    }
  }

  /** What an earlier machine of a node's name held is the business of the one that has it now. */
  #isToLookAfter(name: string, { blocks, peers }: BlockView): boolean {
    const holder = blocks.get(name)?.spec.node;
    return holder !== undefined && (holder === this.#options.node.name || !peers.has(holder));
  }

  /** In this order: block, then who might hold it, then the deletion of what was read first. */
  async #isTakenBack(name: string): Promise<boolean> {
    const { api } = this.#options;
    const block = await found(api.getBlock(name));
    if (block === undefined || (await this.#hasHolder(block.spec))) return false;
    const { uid, resourceVersion } = block.metadata;
    if (uid === undefined || resourceVersion === undefined) return false;
    try {
      await api.deleteBlock(name, { uid, resourceVersion });
      return true;
    } catch (error) {
      const code = codeOf(error);
      if (code === 'NOT_FOUND' || code === 'CONFLICT') return false; // another one did it, or its holder is back
      throw error;
    }
  }

  async #hasHolder({ node, stateId }: { node: string; stateId?: string }): Promise<boolean> {
    const { api, node: own } = this.#options;
    const peer = await found(api.getPeer(node));
    // Of this node's name: another machine's, unless that one has published itself again.
    if (node === own.name) return peer?.spec.stateId !== own.stateId || stateId === own.stateId;
    return peer !== undefined || (await found(api.getNode(node))) !== undefined;
  }

  #jitter(): number {
    return this.#options.random() * Math.min(JITTER_MS, this.#options.quarantineMs);
  }
}

async function found<T>(request: Promise<T>): Promise<T | undefined> {
  try {
    return await request;
  } catch (error) {
    if (codeOf(error) === 'NOT_FOUND') return undefined;
    throw error;
  }
}
