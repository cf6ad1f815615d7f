// Inputs that are nearly right: samples with bytes flipped, cut, repeated, spliced from another sample or replaced by words that mean
// something, and JSON values with members changed, dropped, moved to another type or added. Cheap: a million in a few seconds.
import { POISON, randomInt } from '../support/random.ts';

type Random = () => number;

export const oneOf = <T>(random: Random, choices: readonly T[]): T =>
  choices[randomInt(random, choices.length)]!; // !: not empty

const SCRATCH_BYTES = 16_384;
const OFFSET = 7;
const encoder = new TextEncoder();

/** Mutates samples in a buffer of its own; what it returns is valid until the next call. */
export class ByteMutator {
  readonly #samples: readonly Uint8Array[];
  readonly #words: readonly Uint8Array[];
  readonly #scratch = new Uint8Array(SCRATCH_BYTES).fill(POISON);
  #length = 0;

  /** `words`: put in, or over what is there, as they are. */
  constructor(samples: readonly Uint8Array[], words: readonly (string | Uint8Array)[]) {
    this.#samples = samples;
    this.#words = words.map((word) => (typeof word === 'string' ? encoder.encode(word) : word));
  }

  mutate(random: Random): Uint8Array {
    const sample = oneOf(random, this.#samples);
    const last = OFFSET + this.#length;
    this.#scratch.set(sample, OFFSET);
    this.#length = sample.length;
    if (last > OFFSET + sample.length) this.#scratch.fill(POISON, OFFSET + sample.length, last);
    for (let steps = randomInt(random, 4); steps > 0; steps--) this.#step(random);
    return this.#scratch.subarray(OFFSET, OFFSET + this.#length);
  }

  #step(random: Random): void {
    const at = randomInt(random, this.#length + 1);
    switch (randomInt(random, 8)) {
      case 0:
        this.#scratch[OFFSET + at]! ^= 1 << randomInt(random, 8); // !: inside the scratch
        break;
      case 1:
        this.#scratch[OFFSET + at] = randomInt(random, 256);
        break;
      case 2:
        this.#replace(at, this.#length - at, new Uint8Array(0));
        break;
      case 3:
        this.#replace(at, randomInt(random, 12), new Uint8Array(0));
        break;
      case 4:
        this.#replace(at, randomInt(random, 12), oneOf(random, this.#words));
        break;
      case 5:
        this.#replace(at, 0, oneOf(random, this.#words));
        break;
      case 6: {
        const from = randomInt(random, this.#length + 1);
        const repeated = this.#scratch.slice(
          OFFSET + from,
          OFFSET + from + randomInt(random, this.#length - from + 1),
        );
        this.#replace(at, 0, repeated);
        break;
      }
      default: {
        const other = oneOf(random, this.#samples);
        this.#replace(at, this.#length - at, other.subarray(randomInt(random, other.length + 1)));
      }
    }
  }

  #replace(at: number, removed: number, added: Uint8Array): void {
    const from = Math.min(at, this.#length);
    const end = Math.min(from + removed, this.#length);
    const length = from + added.length + (this.#length - end);
    if (OFFSET + length > SCRATCH_BYTES) return;
    this.#scratch.copyWithin(OFFSET + from + added.length, OFFSET + end, OFFSET + this.#length);
    this.#scratch.set(added, OFFSET + from);
    this.#length = length;
  }
}

const LEAVES: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -1,
  0.5,
  1e300,
  2 ** 53,
  '',
  'weft',
  '\0',
  '\ud800',
  [],
  {},
  [[]],
  [null],
];
const KEYS = ['__proto__', 'constructor', 'toString', 'length', '', 'name'];
const DROPPED: unique symbol = Symbol('dropped');

export interface Vocabulary {
  readonly keys: readonly string[];
  readonly values: readonly unknown[];
}

/** A copy with `changes` mutations; what is not touched is shared with the original. */
export function mutateJson(
  random: Random,
  value: unknown,
  options: { changes: number; vocabulary: Vocabulary },
): unknown {
  let mutated = value;
  for (let change = 0; change < options.changes; change++) {
    const next = mutateOnce(random, mutated, options.vocabulary);
    mutated = next === DROPPED ? undefined : next;
  }
  return mutated;
}

function mutateOnce(random: Random, value: unknown, vocabulary: Vocabulary): unknown {
  if (Array.isArray(value)) return mutateArray(random, value, vocabulary);
  if (typeof value === 'object' && value !== null) return mutateObject(random, { ...value }, vocabulary);
  if (random() < 0.15) return DROPPED;
  if (typeof value === 'string' && random() < 0.5) return mutateText(random, value);
  if (typeof value === 'number' && random() < 0.5)
    return oneOf(random, [value + 1, -value, value / 2, value * 2 ** 32]);
  return anyValue(random, vocabulary);
}

const anyValue = (random: Random, { values }: Vocabulary): unknown =>
  oneOf(random, random() < 0.5 ? values : LEAVES);

function mutateArray(random: Random, list: readonly unknown[], vocabulary: Vocabulary): unknown {
  const at = randomInt(random, list.length);
  if (list.length === 0 || random() < 0.1)
    return random() < 0.5 ? [anyValue(random, vocabulary)] : anyValue(random, vocabulary);
  if (random() < 0.15) return [...list, oneOf(random, list)];
  if (random() < 0.05) return Array.from({ length: randomInt(random, 40) }, () => list[at]);
  const next = mutateOnce(random, list[at], vocabulary);
  return next === DROPPED ? list.toSpliced(at, 1) : list.with(at, next);
}

function mutateObject(random: Random, copy: Record<string, unknown>, vocabulary: Vocabulary): unknown {
  const keys = Object.keys(copy);
  if (random() < 0.05) return random() < 0.2 ? DROPPED : anyValue(random, vocabulary);
  if (keys.length === 0 || random() < 0.15) {
    const key = oneOf(random, random() < 0.7 ? vocabulary.keys : KEYS);
    // Not by assignment: "__proto__" is to be a member like any other, as JSON.parse makes it.
    Object.defineProperty(copy, key, {
      value: anyValue(random, vocabulary),
      enumerable: true,
      configurable: true,
      writable: true,
    });
    return copy;
  }
  const key = oneOf(random, keys);
  const next = mutateOnce(random, copy[key], vocabulary);
  if (next === DROPPED) delete copy[key];
  else
    Object.defineProperty(copy, key, { value: next, enumerable: true, configurable: true, writable: true });
  return copy;
}

const CHARACTERS = [
  '\0',
  '\n',
  ' ',
  '/',
  '.',
  ':',
  '-',
  '_',
  '"',
  '0',
  '9',
  'a',
  'A',
  'z',
  'é',
  '\u{1f600}',
  '\ud800',
  '\ufeff',
];

function mutateText(random: Random, text: string): string {
  const at = randomInt(random, text.length + 1);
  switch (randomInt(random, 5)) {
    case 0:
      return text.slice(0, at);
    case 1:
      return text.slice(0, at) + oneOf(random, CHARACTERS) + text.slice(at);
    case 2:
      return text.slice(0, at) + oneOf(random, CHARACTERS) + text.slice(at + 1);
    case 3:
      return text.slice(0, at) + text.slice(at + 1);
    default:
      return text.repeat(randomInt(random, 20));
  }
}
