// What the processes of the agent take, by role: memory and processor time, and for the data plane's workers how long they were ready to
// run and had no processor. Read from /proc when somebody asks; the proportional size of memory, for which the kernel walks all pages, is
// read aside and no more often than once in 30 s.
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';

/** Processes by role; of the data plane the workers in their order, 0 = nobody works there. */
export type Processes = Readonly<Record<UsageRole, readonly number[]>>;
const USAGE_ROLES = ['keeper', 'control', 'dataplane', 'spare'] as const;
export type UsageRole = (typeof USAGE_ROLES)[number];

export interface RoleUsage {
  readonly role: UsageRole;
  readonly residentBytes: number;
  /** Shared memory by shares; undefined: not known, or not yet. */
  readonly proportionalBytes: number | undefined;
  /** Since the first look, of processes that have ended as well: it never falls. */
  readonly cpuSeconds: number;
}

export interface UsageReading {
  readonly roles: readonly RoleUsage[];
  /** By worker; undefined where the kernel does not tell. */
  readonly runDelaySeconds: readonly (number | undefined)[];
}

/** Of times in /proc: USER_HZ is 100 on every architecture that Node runs on. */
const TICKS_A_SECOND = 100;
const PROPORTIONAL_AGE_MS = 30_000;

export interface RoleUsageOptions {
  /** Throws when the process is gone. */
  readonly read?: (path: string) => string;
  readonly readAside?: (path: string) => Promise<string>;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
}

export class RoleUsageReader {
  readonly #read: (path: string) => string;
  readonly #readAside: (path: string) => Promise<string>;
  readonly #now: () => number;
  #proportional: ReadonlyMap<number, number> = new Map();
  #readAtMs = Number.NEGATIVE_INFINITY;
  /** By process, at the last look; undefined: there was none. */
  #ticks: ReadonlyMap<number, number> | undefined;
  /** Since the first look. */
  readonly #ticksOfRole = new Map<UsageRole, number>();

  constructor(options: RoleUsageOptions = {}) {
    this.#read = options.read ?? ((path) => readFileSync(path, 'latin1'));
    this.#readAside = options.readAside ?? ((path) => readFile(path, 'latin1'));
    this.#now = options.now ?? (() => performance.now());
  }

  /** What the keeper started beside the processes that it names in roles.json. */
  childrenOf(pid: number): readonly number[] {
    return this.#textOf(`/proc/${pid}/task/${pid}/children`)
      .split(' ')
      .filter((word) => word !== '')
      .map(Number);
  }

  look(processes: Processes): UsageReading {
    const running = USAGE_ROLES.map((role) => ({ role, pids: processes[role].filter((pid) => pid > 0) }));
    if (this.#now() - this.#readAtMs >= PROPORTIONAL_AGE_MS) {
      this.#readAtMs = this.#now();
      void this.#weigh(running.flatMap(({ pids }) => pids));
    }
    this.#countTicks(running);
    const sum = (pids: readonly number[], value: (pid: number) => number): number =>
      pids.reduce((total, pid) => total + value(pid), 0);
    return {
      roles: running.map(({ role, pids }) => ({
        role,
        residentBytes: sum(pids, (pid) => this.#residentBytes(pid)),
        proportionalBytes: pids.every((pid) => this.#proportional.has(pid))
          ? sum(pids, (pid) => this.#proportional.get(pid) ?? 0)
          : undefined,
        cpuSeconds: (this.#ticksOfRole.get(role) ?? 0) / TICKS_A_SECOND,
      })),
      runDelaySeconds: processes.dataplane.map((pid) => (pid > 0 ? this.#runDelaySeconds(pid) : undefined)),
    };
  }

  /** A process that changes its role takes to the new one what it uses there. One that is not named is followed until it has ended. */
  #countTicks(running: readonly { readonly role: UsageRole; readonly pids: readonly number[] }[]): void {
    const before = this.#ticks;
    const now = new Map<number, number>();
    for (const pid of [...(before?.keys() ?? []), ...running.flatMap(({ pids }) => pids)]) {
      const ticks = now.has(pid) ? undefined : this.#ticksOf(pid);
      if (ticks !== undefined) now.set(pid, ticks);
    }
    const used = (pid: number): number => {
      const ticks = now.get(pid) ?? 0;
      const had = before === undefined ? ticks : (before.get(pid) ?? 0);
      return ticks < had ? ticks : ticks - had; // fewer: another process of that pid
    };
    for (const { role, pids } of running) {
      const added = pids.reduce((total, pid) => total + used(pid), 0);
      this.#ticksOfRole.set(role, (this.#ticksOfRole.get(role) ?? 0) + added);
    }
    this.#ticks = now;
  }

  /** Resolves when the sizes are known that look() tells from then on. */
  async #weigh(pids: readonly number[]): Promise<void> {
    const sizes = new Map<number, number>();
    for (const pid of pids) {
      const content = await this.#readAside(`/proc/${pid}/smaps_rollup`).catch(() => '');
      const kilobytes = kilobytesOf(content, 'Pss');
      if (kilobytes !== undefined) sizes.set(pid, kilobytes * 1024);
    }
    this.#proportional = sizes;
  }

  #residentBytes(pid: number): number {
    return (kilobytesOf(this.#textOf(`/proc/${pid}/status`), 'VmRSS') ?? 0) * 1024;
  }

  /** The name of the program, in parentheses, may hold anything; 11 fields behind it come user and system time. */
  #ticksOf(pid: number): number | undefined {
    const content = this.#textOf(`/proc/${pid}/stat`);
    if (content === '') return undefined;
    const fields = content.slice(content.lastIndexOf(')') + 2).split(' ');
    return Number(fields[11] ?? 0) + Number(fields[12] ?? 0);
  }

  /** The second of three numbers, in nanoseconds. A kernel that does not count gives a 0 as the first one, too. */
  #runDelaySeconds(pid: number): number | undefined {
    const [running = 0, waiting = 0] = this.#textOf(`/proc/${pid}/schedstat`).trim().split(' ').map(Number);
    return running > 0 ? waiting / 1e9 : undefined;
  }

  #textOf(path: string): string {
    try {
      return this.#read(path);
    } catch {
      return ''; // it has ended
    }
  }
}

function kilobytesOf(content: string, name: string): number | undefined {
  const found = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(content)?.[1];
  return found === undefined ? undefined : Number(found);
}
