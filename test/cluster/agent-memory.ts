// Memory of a node's agent, as the kernel counts it: the proportional set size of its processes, and its container's control group, which
// is what the manifest's limit is held against (version 1 hierarchies, as cgroups.ts).
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { codeOf } from '../../agent/operation-error.ts';
import { containerOf, keepersOf } from './agent-processes.ts';
import type { ClusterNode } from './cluster-node.ts';

const MEBIBYTE = 2 ** 20;

export interface AgentMemory {
  readonly pssBytes: number;
  readonly processes: number;
  /** What its processes hold, and cached files that were read for them. */
  readonly groupBytes: number;
  /** Since the container's start. */
  readonly groupPeakBytes: number;
  readonly groupLimitBytes: number;
}

/** Throws where the node does not run exactly one agent. */
export function agentMemory(node: ClusterNode): AgentMemory {
  const [keeper, ...others] = keepersOf(node);
  if (keeper === undefined || others.length > 0) {
    throw new Error(`${others.length + (keeper === undefined ? 0 : 1)} agents run on ${node.name}, not 1`);
  }
  const pids = containerOf(keeper);
  const group = groupOf(keeper);
  const value = (file: string): number => Number(readFileSync(join(group, file), 'utf8'));
  return {
    pssBytes: pids.reduce((sum, pid) => sum + pssBytes(pid), 0),
    processes: pids.length,
    groupBytes: value('memory.usage_in_bytes'),
    groupPeakBytes: value('memory.max_usage_in_bytes'),
    groupLimitBytes: value('memory.limit_in_bytes'),
  };
}

export function describeMemory({ pssBytes, processes, groupBytes, groupPeakBytes }: AgentMemory): string {
  const inMebibytes = (bytes: number): string => `${(bytes / MEBIBYTE).toFixed(0)} MiB`;
  return `${inMebibytes(pssBytes)} in ${processes} processes, control group ${inMebibytes(groupBytes)}, at most ${inMebibytes(groupPeakBytes)}`;
}

/** 0 of one that has ended: the agent's own look at its node is a process of a second or two. */
function pssBytes(pid: number): number {
  try {
    return Number(/^Pss:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1]) * 1024;
  } catch (error) {
    if (['ESRCH', 'ENOENT'].includes(codeOf(error))) return 0;
    throw error;
  }
}

function groupOf(pid: number): string {
  const line = readFileSync(`/proc/${pid}/cgroup`, 'utf8')
    .split('\n')
    .find((each) => each.split(':')[1] === 'memory');
  if (line === undefined) throw new Error(`Process ${pid} is in no control group of the memory controller`);
  return join('/sys/fs/cgroup/memory', line.split(':').slice(2).join(':'));
}
