// One role of the agent as the keeper runs it: the process that works, and for the data plane a warm spare that has loaded everything
// and waits for its turn. Each process has a channel of its own; "activate" gives it the turn, "drain" asks it to finish and exit.
// A role that keeps dying at once is restarted with growing pauses; a spare takes over without any.
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync } from 'node:fs';

import { openChannel, sendText } from './linux/channel.ts';
import type { RoleState } from './role-states.ts';
import type { Logger } from './telemetry/logger.ts';

export interface RoleOptions {
  readonly name: 'control' | 'dataplane';
  readonly script: string;
  readonly environment: NodeJS.ProcessEnv;
  /** Descriptors that the child gets from 3 on; `channel` is its own end of the keeper channel. */
  readonly descriptors: (channel: number) => readonly number[];
  readonly spares: number;
  readonly log: Logger;
  readonly changed: (state: RoleState) => void;
}

export interface Role {
  /** Asks every process to finish; after `limitMs` ends it. Resolves when all are gone. */
  stop(limitMs: number): Promise<void>;
}

interface Member {
  readonly child: ChildProcess;
  readonly channel: number;
  readonly startedAt: number;
}

const HEALTHY_AFTER_MS = 10_000;
const TOO_SOON_MS = 300;
const PAUSES_MS = [0, 250, 1000, 2500, 5000, 10_000];

export function createRole(options: RoleOptions): Role {
  const { name, log } = options;
  const members = new Set<Member>();
  let active: Member | undefined;
  let restarts = 0;
  let failures = 0;
  let stopping = false;
  let allGone: (() => void) | undefined;

  const report = (): void => options.changed({ role: name, pid: active?.child.pid ?? 0, restarts });

  const activate = (member: Member): void => {
    active = member;
    sendText(member.channel, 'activate');
    report();
  };

  const start = (): void => {
    if (stopping) return;
    const [ours, theirs] = openChannel();
    const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', options.script], {
      env: options.environment,
      stdio: ['pipe', 'inherit', 'inherit', ...options.descriptors(theirs)],
    });
    closeSync(theirs);
    const member: Member = { child, channel: ours, startedAt: performance.now() };
    members.add(member);
    child.on('error', (error) =>
      log.error('role_failed_to_start', `Cannot start ${name}: ${error.message}`, { name }),
    );
    child.on('exit', (code, signal) => ended(member, code ?? signal ?? 'unknown'));
    child.stdin?.on('error', () => undefined); // the child ended first: its exit is handled above
    if (active === undefined) activate(member);
  };

  const ended = (member: Member, how: number | string): void => {
    members.delete(member);
    closeSync(member.channel);
    if (stopping) {
      if (members.size === 0) allGone?.();
      return;
    }
    restarts += 1;
    failures = nextFailures(failures, { livedMs: performance.now() - member.startedAt, how });
    const wasActive = member === active;
    if (wasActive) {
      active = undefined;
      const [spare] = members;
      if (spare !== undefined) activate(spare);
    }
    const pauseMs = PAUSES_MS[Math.min(failures, PAUSES_MS.length - 1)] ?? 0;
    log.warn(
      'role_restarted',
      `${name} ended (${how}); starting it again${pauseMs === 0 ? '' : ` in ${pauseMs} ms`}`,
      {
        name,
        how,
        was_active: wasActive,
        restarts,
      },
    );
    report();
    if (pauseMs === 0) start();
    else setTimeout(start, pauseMs);
  };

  for (let count = 0; count <= options.spares; count++) start();

  return {
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

/** A process that was killed from outside comes back at once; one that gives up by itself, or cannot even start, is given pauses. */
export function nextFailures(failures: number, end: { livedMs: number; how: number | string }): number {
  if (end.livedMs > HEALTHY_AFTER_MS) return 0;
  return typeof end.how === 'number' || end.livedMs < TOO_SOON_MS ? failures + 1 : failures;
}
