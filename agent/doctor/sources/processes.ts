// The agent's processes that work in this network namespace, found by their command line (process ids in the run directory are those of the
// agent's own process namespace), and their control group.
import { readdirSync, readlinkSync } from 'node:fs';

import type { AgentEnvironment } from '../agent-environment.ts';
import type { AgentProcess, CgroupFacts } from '../scene.ts';
import { readNumber, readText } from './proc-files.ts';

const ROLES = [
  [/\/agent\/keeper\.[jt]s$/, 'keeper'],
  [/\/agent\/control\/main\.[jt]s$/, 'control'],
  [/\/agent\/dataplane\/main\.[jt]s$/, 'dataplane'],
] as const;

export function processIds(): readonly number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

const namespaceOf = (pid: number | 'self', kind: 'net' | 'mnt'): string | undefined => {
  try {
    return readlinkSync(`/proc/${pid}/ns/${kind}`);
  } catch {
    return undefined;
  }
};

const commandOf = (pid: number): readonly string[] => (readText(`/proc/${pid}/cmdline`) ?? '').split('\0');

/** comm, as ps shows it; may hold spaces and brackets. */
export const nameOf = (pid: number): string => (readText(`/proc/${pid}/comm`) ?? '').trim();

export function roleOf(pid: number): AgentProcess['role'] | undefined {
  const words = commandOf(pid);
  return ROLES.find(([pattern]) => words.some((word) => pattern.test(word)))?.[1];
}

export function readAgentProcesses(): readonly AgentProcess[] {
  const own = namespaceOf('self', 'net');
  return processIds().flatMap((pid): readonly AgentProcess[] => {
    const role = roleOf(pid);
    if (role === undefined || namespaceOf(pid, 'net') !== own) return [];
    const stat = readText(`/proc/${pid}/stat`);
    if (stat === undefined) return [];
    const state = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[0] ?? '';
    const limit = /^Max open files +(\d+)/m.exec(readText(`/proc/${pid}/limits`) ?? '')?.[1];
    return [{ role, pid, state, openFilesLimit: limit === undefined ? undefined : Number(limit) }];
  });
}

/** The environment that the agent was started with; undefined: it may not be read, or no agent runs. */
export function readAgentEnvironment(processes: readonly AgentProcess[]): AgentEnvironment | undefined {
  const pid = processes.find(({ role }) => role === 'keeper')?.pid;
  const text = pid === undefined ? '' : (readText(`/proc/${pid}/environ`) ?? '');
  if (pid === undefined || text === '') return undefined;
  const variables = Object.fromEntries(
    text
      .split('\0')
      .filter((line) => line.includes('='))
      .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  );
  const isElsewhere = namespaceOf(pid, 'mnt') !== namespaceOf('self', 'mnt');
  return { variables, root: isElsewhere ? `/proc/${pid}/root` : '' };
}

/** Of the agent where it can be found, otherwise of the doctor, which is in the same one when it is run in the agent's container. */
export function readCgroup(processes: readonly AgentProcess[]): CgroupFacts {
  const pid = processes.find(({ role }) => role === 'keeper')?.pid ?? 'self';
  const path = /^0::(.*)$/m.exec(readText(`/proc/${pid}/cgroup`) ?? '')?.[1] ?? '/';
  const file = (name: string): number | undefined => readNumber(`/sys/fs/cgroup${path}/${name}`);
  const events = readText(`/sys/fs/cgroup${path}/memory.events`);
  const kills = /^oom_kill (\d+)$/m.exec(events ?? '')?.[1];
  return {
    pidsMax: file('pids.max'),
    pidsCurrent: file('pids.current'),
    memoryMax: file('memory.max'),
    memoryCurrent: file('memory.current'),
    oomKills: kills === undefined ? undefined : Number(kills),
  };
}
