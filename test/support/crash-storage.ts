// The disk under an allocation log that remembers what a power failure could have left behind, for every moment of its life. Follows
// FileStorage (agent/ipam/address-log.ts) effect by effect: an append cuts off what failed before it, writes, syncs; a replacement is a
// second file, synced, renamed, and the rename is synced. What is not synced may be there or not, and as a part only.
import { type LogStorage, REPLACED_UNSYNCED } from '../../agent/ipam/commit-queue.ts';
import { OperationError } from '../../agent/operation-error.ts';

/** `base` was synced as a whole, `tail` follows it in the file. Undefined: there is no file. */
export interface CrashState {
  readonly base: Uint8Array | undefined;
  readonly tail: Uint8Array;
}

/** A stretch of time in which a power failure leaves one of `states`. */
export interface Stretch {
  readonly what: string;
  /** Numbers of the moments (the caller's count) that lie in it. */
  readonly from: number;
  readonly to: number;
  readonly states: () => Iterable<CrashState>;
}

/** How a write ends; `part` of its bytes are in the file before it fails, 0 ≤ part ≤ 1. */
export type WriteOutcome = { readonly kind: 'done' } | { readonly kind: 'failed'; readonly part: number };

/** What the log's name may lead to. `tail` was written behind `base` and never synced. */
interface Candidate {
  readonly base: Uint8Array | undefined;
  readonly tail: Uint8Array;
}

const NOTHING = new Uint8Array(0);
const SECTOR_BYTES = 512;

export class CrashStorage implements LogStorage {
  readonly history: Stretch[] = [];
  readonly #moment: () => number;
  readonly #answersEarly: boolean;
  /** The last is what a running program sees; the others come back when a rename is lost. */
  #candidates: readonly Candidate[] = [{ base: undefined, tail: NOTHING }];
  #idleSince = 0;
  #underWay: 'append' | 'replace' | undefined;
  #proceed: (outcome: WriteOutcome) => void = () => undefined;

  /** `answersEarly`: a disk that lies, to see that it is found: what it says is written may be lost. */
  constructor({
    moment,
    answersEarly = false,
  }: {
    readonly moment: () => number;
    readonly answersEarly?: boolean;
  }) {
    this.#moment = moment;
    this.#answersEarly = answersEarly;
  }

  get byteLength(): number {
    return this.#current.base?.length ?? 0;
  }

  /** The write that waits to be told its outcome. */
  get underWay(): 'append' | 'replace' | undefined {
    return this.#underWay;
  }

  proceed(outcome: WriteOutcome): void {
    this.#underWay = undefined;
    this.#proceed(outcome);
  }

  async append(bytes: Uint8Array): Promise<void> {
    const candidates = this.#candidates;
    const { base, tail } = this.#current;
    if (base === undefined) throw new OperationError('there is no file', { code: 'ENOENT' });
    const outcome = await this.#write('append', function* states() {
      yield* idleStates(candidates); // the cut and the write are lost
      yield* prefixes({ base, tail: bytes });
      for (const torn of tornBytes(base.length, bytes)) yield { base, tail: torn };
      // The write is in the file, the cut is not.
      for (let length = 1; length < tail.length; length++) {
        yield { base, tail: Buffer.concat([bytes.subarray(0, length), tail.subarray(length)]) };
      }
    });
    const others = candidates.slice(0, -1);
    if (outcome.kind === 'failed') {
      const written = bytes.subarray(0, Math.round(bytes.length * outcome.part));
      this.#candidates = [...others, { base, tail: written }];
      throw new OperationError('no space is left', { code: 'ENOSPC' });
    }
    const written: Candidate = { base: Buffer.concat([base, bytes]), tail: NOTHING };
    const unwritten: readonly Candidate[] = this.#answersEarly ? [{ base, tail: bytes }] : [];
    this.#candidates = [...others, ...unwritten, written];
  }

  async replace(bytes: Uint8Array): Promise<void> {
    const candidates = this.#candidates;
    const whole: Candidate = { base: Uint8Array.from(bytes), tail: NOTHING };
    const outcome = await this.#write('replace', function* states() {
      // The new file has its first 0, 1, 2 … bytes, or all of them and no name: the name leads to the old one.
      for (let length = 0; length <= bytes.length; length++) yield* idleStates(candidates);
      yield whole; // renamed; whether it stays so is not known before the sync, so the states above hold until then
    });
    if (outcome.kind === 'done') {
      this.#candidates = [whole];
      return;
    }
    if (outcome.part < 1) throw new OperationError('no space is left', { code: 'ENOSPC' });
    this.#candidates = [...candidates, whole];
    throw new OperationError('the directory cannot be synced', { code: REPLACED_UNSYNCED });
  }

  async close(): Promise<void> {
    this.#endIdle();
  }

  get #current(): Candidate {
    return this.#candidates.at(-1)!; // !: never empty
  }

  async #write(what: 'append' | 'replace', states: () => Iterable<CrashState>): Promise<WriteOutcome> {
    this.#endIdle();
    const from = this.#moment();
    this.#underWay = what;
    const outcome = await new Promise<WriteOutcome>((resolve) => (this.#proceed = resolve));
    this.#idleSince = this.#moment();
    this.history.push({ what, from, to: this.#idleSince, states });
    return outcome;
  }

  #endIdle(): void {
    const candidates = this.#candidates;
    const states = (): Iterable<CrashState> => idleStates(candidates);
    this.history.push({ what: 'idle', from: this.#idleSince, to: this.#moment(), states });
  }
}

function* prefixes({ base, tail }: Candidate): Iterable<CrashState> {
  for (let length = 0; length <= tail.length; length++) yield { base, tail: tail.subarray(0, length) };
}

function* idleStates(candidates: readonly Candidate[]): Iterable<CrashState> {
  for (const candidate of candidates) yield* prefixes(candidate);
}

/** The file has its new length already: zeros where nothing was written yet, from some byte on, or in one sector alone. */
function* tornBytes(offset: number, bytes: Uint8Array): Iterable<Uint8Array> {
  for (let length = 0; length < bytes.length; length++) yield Uint8Array.from(bytes).fill(0, length);
  const first = offset - (offset % SECTOR_BYTES);
  for (let sector = first; sector < offset + bytes.length; sector += SECTOR_BYTES) {
    yield Uint8Array.from(bytes).fill(0, Math.max(0, sector - offset), sector - offset + SECTOR_BYTES);
  }
}
