// Time of a simulation: events in their order, those of the same moment in the order in which they were asked for. Between two events
// everything that was promised or deferred runs, so a run depends on its seed alone.
import type { Clock } from '../../agent/kube/clock.ts';

interface Event {
  readonly atMs: number;
  readonly order: number;
  fire: (() => void) | undefined;
}

const isBefore = (a: Event, b: Event): boolean => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);

const LEAST_MS = 0.001;

export class VirtualTime implements Clock {
  /** A binary heap, the next event first. */
  readonly #events: Event[] = [];
  #nowMs = 0;
  #order = 0;

  now(): number {
    return this.#nowMs;
  }

  /** What is not due at once is later: a fraction too small for the clock would be waited for without end. */
  setTimer(delayMs: number, fire: () => void): () => void {
    const atMs = this.#nowMs + (delayMs > 0 ? Math.max(LEAST_MS, delayMs) : 0);
    const event: Event = { atMs, order: this.#order++, fire };
    this.#push(event);
    return () => {
      event.fire = undefined;
    };
  }

  after(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.setTimer(delayMs, resolve);
    });
  }

  /** Until `until` is true, asked after each event, or so much time has passed. */
  async run(forMs: number, until: () => boolean = () => false): Promise<void> {
    const endMs = this.#nowMs + forMs;
    while (!until()) {
      const next = this.#events[0];
      if (next === undefined || next.atMs > endMs) {
        this.#nowMs = endMs;
        return;
      }
      this.#pop();
      const { fire } = next;
      if (fire === undefined) continue;
      this.#nowMs = next.atMs;
      fire();
      await turn();
    }
  }

  #push(event: Event): void {
    const events = this.#events;
    let at = events.length;
    events.push(event);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = events[parent]!; // !: a place in the heap
      if (!isBefore(event, above)) break;
      events[at] = above;
      at = parent;
    }
    events[at] = event;
  }

  #pop(): void {
    const events = this.#events;
    const last = events.pop();
    if (last === undefined || events.length === 0) return;
    let at = 0;
    for (;;) {
      const left = 2 * at + 1;
      if (left >= events.length) break;
      const right = left + 1;
      const child = right < events.length && isBefore(events[right]!, events[left]!) ? right : left; // !: both are in the heap
      if (!isBefore(events[child]!, last)) break; // !: as above
      events[at] = events[child]!; // !: as above
      at = child;
    }
    events[at] = last;
  }
}

const turn = (): Promise<void> =>
  new Promise((resolve) => {
    setImmediate(resolve);
  });
