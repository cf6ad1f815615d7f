// The facts that figures depend on, for whoever compares two machines.
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, release } from 'node:os';
import process from 'node:process';

import { ENCLOSURE, tryCommand } from '../../test/lab/command.ts';

export interface MachineFacts {
  readonly kernel: string;
  readonly processor: string;
  readonly cores: number;
  /** What the kernel says of its page-table isolation: with it a system call costs several times as much. */
  readonly pageTableIsolation: string;
  readonly mitigations: string;
  readonly clockSource: string;
  readonly node: string;
  /** With "+" where the checkout has changes that are not committed. */
  readonly commit: string;
}

export async function readMachineFacts(): Promise<MachineFacts> {
  const commit = (await git('rev-parse', '--short=12', 'HEAD')) || 'unknown';
  const changed = await git('status', '--porcelain', '--untracked-files=no');
  const meltdown = read('/sys/devices/system/cpu/vulnerabilities/meltdown');
  return {
    kernel: release(),
    processor: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    pageTableIsolation: / pti( |$)/m.test(read('/proc/cpuinfo')) ? `on (${meltdown})` : `off (${meltdown})`,
    mitigations: read('/proc/cmdline').match(/mitigations=\S+/)?.[0] ?? 'default',
    clockSource: read('/sys/devices/system/clocksource/clocksource0/current_clocksource'),
    node: process.version,
    commit: changed === '' ? commit : `${commit}+`,
  };
}

export const formatMachine = ({
  kernel,
  processor,
  cores,
  pageTableIsolation,
  node,
  commit,
}: MachineFacts): string =>
  `Linux ${kernel}, ${cores} × ${processor}, page-table isolation ${pageTableIsolation}, Node ${node}, commit ${commit}`;

const git = async (...words: readonly string[]): Promise<string> =>
  (
    await tryCommand(ENCLOSURE, ['git', '-C', import.meta.dirname, ...words]).catch(() => ({ stdout: '' }))
  ).stdout.trim();

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
}
