// Since when blocks have no holder in the cluster: no Peer has the name of their node, or it is one of another state directory. Time before
// this agent heard the API does not count, nor does time before the block was changed the last time. Pure; time is a parameter.
import type { AddressBlock, Peer } from '../../../proto/api-kinds.ts';

interface Abandoned {
  readonly sinceMs: number;
  readonly version: string | undefined;
}

export class AbandonedSince {
  readonly #blocks = new Map<string, Abandoned>();

  /** What the API says now. Of a block that is not there any more it is known until the look after. */
  look(peers: ReadonlyMap<string, Peer>, blocks: ReadonlyMap<string, AddressBlock>, nowMs: number): void {
    for (const name of this.#blocks.keys()) if (!blocks.has(name)) this.#blocks.delete(name);
    for (const [name, block] of blocks) {
      const version = block.metadata.resourceVersion;
      if (isHeld(block, peers)) this.#blocks.delete(name);
      else if (this.#blocks.get(name)?.version !== version)
        this.#blocks.set(name, { sinceMs: nowMs, version });
    }
  }

  /** Time at which it was seen to be without a holder; undefined while it has one. */
  of(name: string): number | undefined {
    return this.#blocks.get(name)?.sinceMs;
  }

  all(): ReadonlyMap<string, number> {
    return new Map([...this.#blocks].map(([name, { sinceMs }]) => [name, sinceMs]));
  }
}

function isHeld({ spec }: AddressBlock, peers: ReadonlyMap<string, Peer>): boolean {
  const peer = peers.get(spec.node);
  return peer !== undefined && (spec.stateId === undefined || spec.stateId === peer.spec.stateId);
}
