// A whole list out of pages, and how to ask next time when it failed: smaller pages, one piece, or the newest state.
// The version of a list is its first page's: what later pages know better comes again as watch events, which is harmless.
import { OperationError } from '../operation-error.ts';
import { PAGE_LIMIT } from './reflector-timing.ts';
import type { ListQuery, ResourceSource } from './resource-source.ts';

export interface WholeList {
  readonly items: readonly unknown[];
  readonly resourceVersion: string;
  /** Asked for the newest state: cannot be stale, unless history itself went back. */
  readonly consistent: boolean;
}

/** More than any cluster has nodes and blocks: a list without an end is refused. */
const MOST_OBJECTS = 131_072;

export class PagedList {
  readonly #source: ResourceSource;
  /** 0 = in one piece. */
  #limit = PAGE_LIMIT;
  #consistent = false;

  constructor(source: ResourceSource) {
    this.#source = source;
  }

  /** The next list asks for the newest state (a quorum read), not for what the server has at hand. */
  insistOnNewest(): void {
    this.#consistent = true;
  }

  /** Throws OperationError with a code of ApiErrorCode, having learned from it. */
  async fetch(known: string | undefined, signal: AbortSignal): Promise<WholeList> {
    const consistent = this.#consistent;
    try {
      const list = await this.#fetchPages(consistent ? undefined : (known ?? '0'), signal);
      if (this.#limit === 0) this.#limit = PAGE_LIMIT;
      this.#consistent = false;
      return { ...list, consistent };
    } catch (error) {
      if (error instanceof OperationError) this.#learn(error);
      throw error;
    }
  }

  async #fetchPages(
    atLeast: string | undefined,
    signal: AbortSignal,
  ): Promise<{ items: unknown[]; resourceVersion: string }> {
    const items: unknown[] = [];
    let version: string | undefined;
    let query: ListQuery = {
      limit: this.#limit,
      ...(atLeast === undefined ? {} : { resourceVersion: atLeast }),
    };
    for (let pages = 1; pages <= MOST_OBJECTS && items.length <= MOST_OBJECTS; pages++) {
      const page = await this.#source.list(query, signal);
      for (const item of page.items) items.push(item);
      version ??= page.resourceVersion;
      if (page.continueToken === undefined) return { items, resourceVersion: version };
      query = { limit: this.#limit, continueToken: page.continueToken };
    }
    throw new OperationError(
      `Cannot list ${this.#source.plural}: more than ${MOST_OBJECTS} objects or pages, the list has no end`,
      { code: 'MALFORMED' },
    );
  }

  #learn(error: OperationError): void {
    if (error.code === 'GONE') {
      this.#limit = 0; // The continue token expired between pages: next time in one piece.
      this.#consistent = true;
    } else if (error.code === 'TOO_LARGE') {
      this.#limit = Math.max(1, Math.floor((this.#limit || PAGE_LIMIT) / 8));
      this.#consistent = true; // A server that answers out of its cache ignores the limit.
    } else if (error.code === 'INVALID' || error.context['status'] === 504) {
      this.#consistent = true; // This server has not seen the version that is known, or does not understand it.
    }
  }
}
