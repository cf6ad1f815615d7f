// Randomness of a simulation: everything follows from the seed.
import { seededRandom } from '../support/random.ts';

export class Chance {
  readonly random: () => number;

  constructor(seed: number) {
    this.random = seededRandom(seed);
  }

  /** True with that probability. */
  happens(probability: number): boolean {
    return this.random() < probability;
  }

  between(least: number, most: number): number {
    return least + this.random() * (most - least);
  }

  below(bound: number): number {
    return Math.floor(this.random() * bound);
  }

  /** Undefined when there is none. */
  oneOf<T>(items: readonly T[]): T | undefined {
    return items[this.below(items.length)];
  }
}
