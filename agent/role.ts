// One role of the agent as the keeper runs it: the processes that work, one for each turn, and for the data plane a warm spare that has
// loaded everything and takes whichever turn becomes free. Each process has a channel of its own; "activate <turn>" gives it a turn,
// "drain" asks it to finish and exit, and by it the process says how far it is.
// A role that keeps dying at once, or cannot even be started, is restarted with growing pauses; a spare takes over without any.
// Invariant: until stop() every process that ends or fails to start is followed by another one.
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync } from 'node:fs';

import { openChannel, receiveText, sendText } from './linux/channel.ts';
import { READABLE, type Readiness } from './linux/readiness.ts';
import { codeOf } from './operation-error.ts';
import type { RoleState } from './role-states.ts';
import type { Logger } from './telemetry/logger.ts';
import { Repeats } from './telemetry/told-once.ts';

export interface RoleOptions {
  readonly name: 'control' | 'dataplane';
  readonly script: string;
  readonly environment: NodeJS.ProcessEnv;
  /** Descriptors that the child gets from 3 on; `channel` is its own end of the keeper channel. */
  readonly descriptors: (channel: number) => readonly number[];
  /** How many processes work at once, numbered from 0; 1 unless told. */
  readonly turns?: number;
  readonly spares: number;
  /** Options of Node beside the usual ones. */
  readonly nodeOptions?: readonly string[];
  /** Runs the script; this process's own Node unless told. */
  readonly program?: string;
  readonly log: Pick<Logger, 'debug' | 'warn' | 'error'>;
  readonly changed: (state: RoleState) => void;
  /** There are no turns to give before release(). */
  readonly held?: boolean;
  /** Told of what the processes say. */
  readonly listener?: RoleListener | undefined;
}

export interface RoleListener {
  readonly readiness: Readiness;
  readonly said: (text: string) => void;
}

export interface Role {
  /** Gives the turns of a role that was held; once. */
  release(): void;
  /** Asks every process to finish; after `limitMs` ends it. Resolves when all are gone. */
  stop(limitMs: number): Promise<void>;
}

interface Member {
  readonly child: ChildProcess;
  readonly channel: number;
  readonly startedAt: number;
  readonly unwatch: () => void;
}

const HEALTHY_AFTER_MS = 10_000;
const TOO_SOON_MS = 300;
const PAUSES_MS = [0, 250, 1000, 2500, 5000, 10_000];
/** By these somebody else ends a process; by the others (SIGSEGV, SIGABRT, SIGBUS, …) it ends over a fault of its own. */
const FROM_OUTSIDE: ReadonlySet<number | string> = new Set(['SIGKILL', 'SIGTERM', 'SIGINT', 'SIGHUP']);

export function createRole(options: RoleOptions): Role {
  const { name, log } = options;
  const members = new Set<Member>();
  /** Who has which. */
  const turns: (Member | undefined)[] = Array.from({ length: options.turns ?? 1 }, () => undefined);
  let held = options.held === true;
  const repeats = new Repeats();
  let restarts = 0;
  let failures = 0;
  let stopping = false;
  let allGone: (() => void) | undefined;

  const report = (): void => {
    const pids = turns.map((member) => member?.child.pid ?? 0);
    const pid = pids.includes(0) ? 0 : (pids[0] ?? 0);
    options.changed({ role: name, pid, restarts, ...(pids.length > 1 && { pids }) });
  };

  const activate = (member: Member, turn: number): void => {
    turns[turn] = member;
    sendText(member.channel, `activate ${turn}`);
    report();
  };

  const start = (): void => {
    if (stopping) return;
    let member: Member;
    try {
      member = launch();
    } catch (error) {
      failedToStart(error);
      return;
    }
    members.add(member);
    const { child } = member;
    child.on('exit', (code, signal) => ended(member, code ?? signal ?? 'unknown'));
    child.on('error', (error) => {
      if (child.pid !== undefined) return; // a signal that was not delivered
      remove(member);
      failedToStart(error);
    });
    child.stdin?.on('error', () => undefined); // the child ended first: its exit is handled above
    giveTurns();
  };

  const giveTurns = (): void => {
    if (held || stopping) return;
    for (const [turn, holder] of turns.entries()) {
      if (holder !== undefined) continue;
      const oldest = [...members].find((member) => !turns.includes(member)); // the likeliest to be warm
      if (oldest !== undefined) activate(oldest, turn);
    }
  };

  /** The process is no more; where it had a turn, the spare gets it. Returns the turn, -1 for none. */
  const remove = (member: Member): number => {
    members.delete(member);
    member.unwatch();
    closeSync(member.channel);
    const turn = turns.indexOf(member);
    if (turn < 0) return turn;
    turns[turn] = undefined;
    giveTurns();
    return turn;
  };

  /** Throws, or the child emits an error, where no process or descriptor is to be had: both pass. */
  const launch = (): Member => {
    const [ours, theirs] = openChannel();
    try {
      const program = options.program ?? process.execPath;
      const words = ['--disable-warning=ExperimentalWarning', ...(options.nodeOptions ?? []), options.script];
      const child = spawn(program, words, {
        env: options.environment,
        stdio: ['pipe', 'inherit', 'inherit', ...options.descriptors(theirs)],
      });
      return { child, channel: ours, startedAt: performance.now(), unwatch: listenTo(ours) };
    } catch (error) {
      closeSync(ours);
      throw error;
    } finally {
      closeSync(theirs);
    }
  };

  const listenTo = (channel: number): (() => void) => {
    const { listener } = options;
    if (listener === undefined) return () => undefined;
    let listening = true;
    const stopListening = (): void => {
      if (listening) unwatch();
      listening = false;
    };
    const unwatch = listener.readiness.watch(channel, READABLE, () => {
      const text = receiveText(channel);
      if (text === undefined) stopListening();
      else listener.said(text);
    });
    return stopListening;
  };

  const failedToStart = (error: unknown): void => {
    if (stopping) {
      if (members.size === 0) allGone?.();
      return;
    }
    failures = nextFailures(failures, { livedMs: 0, how: codeOf(error) });
    const reason = error instanceof Error ? error.message : String(error);
    if (repeats.admit(`start ${codeOf(error)}`, performance.now()) !== undefined) {
      log.error(
        'role_failed_to_start',
        `Cannot start ${name}: ${reason}; it is tried again until it starts: free processes, memory or file descriptors on the node`,
        { name, code: codeOf(error) },
      );
    }
    report();
    setTimeout(start, pauseMs());
  };

  const pauseMs = (): number => PAUSES_MS[Math.min(failures, PAUSES_MS.length - 1)] ?? 0;

  const ended = (member: Member, how: number | string): void => {
    restarts += 1;
    const turn = remove(member);
    if (stopping) {
      if (members.size === 0) allGone?.();
      return;
    }
    failures = nextFailures(failures, { livedMs: performance.now() - member.startedAt, how });
    const isWorker = turns.length > 1 && turn >= 0;
    const message = `${name}${isWorker ? ` worker ${turn}` : ''} ended (${how}); starting it again${pauseMs() === 0 ? '' : ` in ${pauseMs()} ms`}. ${remedyOf(how)}`;
    const fields = {
      name,
      how: String(how),
      was_active: turn >= 0,
      ...(isWorker && { worker: turn }),
      restarts,
    };
    // In a crash loop each growth of the pause, then now and then.
    const isNews = failures === 0 || repeats.admit(`${pauseMs()} ${how}`, performance.now()) !== undefined;
    if (isNews) log.warn('role_restarted', message, fields);
    else log.debug('role_restarted', message, fields);
    report();
    if (pauseMs() === 0) start();
    else setTimeout(start, pauseMs());
  };

  for (let count = 0; count < turns.length + options.spares; count++) start();

  return {
    release() {
      held = false;
      giveTurns();
    },
    async stop(limitMs) {
      stopping = true;
      if (members.size === 0) return;
      const gone = new Promise<void>((resolve) => (allGone = resolve));
      for (const { child, channel } of members) {
        sendText(channel, 'drain');
        child.stdin?.end();
        if (name === 'control') child.kill('SIGTERM');
      }
      const limit = setTimeout(() => {
        for (const { child } of members) child.kill('SIGKILL');
      }, limitMs);
      await gone;
      clearTimeout(limit);
    },
  };
}

/** What to look at after a process ended. */
const remedyOf = (how: number | string): string =>
  how === 'SIGKILL'
    ? 'If nobody killed it, look at `dmesg` and the memory limit of the container'
    : 'The line before this one says why; report it where it goes on';

/** A process that was killed from outside comes back at once; one that gives up or faults, or cannot even start, is given pauses. */
export function nextFailures(failures: number, end: { livedMs: number; how: number | string }): number {
  if (end.livedMs > HEALTHY_AFTER_MS) return 0;
  return !FROM_OUTSIDE.has(end.how) || end.livedMs < TOO_SOON_MS ? failures + 1 : failures;
}
