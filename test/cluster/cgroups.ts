// Control groups of a cluster (version 1 hierarchies): one group below the caller's own in each hierarchy, and in it one per node, which
// is the root that the node sees. Groups are not the namespace's, so the kernel does not remove them with it: the program outside does.
import { existsSync, mkdirSync, readFileSync, readdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { ENCLOSURE, runScript } from '../lab/command.ts';

const ROOT = '/sys/fs/cgroup';
const REMOVAL_BOUND_MS = 5000;

interface Hierarchy {
  /** As in mount(8)'s options: "cpu,cpuacct". */
  readonly controllers: string;
  /** The caller's own group. */
  readonly group: string;
}

/** Hierarchies with a controller; the named one (systemd's) and version 2's are no part of it. */
const hierarchies = (): readonly Hierarchy[] =>
  readFileSync('/proc/self/cgroup', 'utf8')
    .trim()
    .split('\n')
    .map((line) => line.split(':'))
    .filter(([, controllers = '']) => controllers !== '' && !controllers.includes('='))
    .map(([, controllers = '', ...group]) => ({ controllers, group: group.join(':') }));

export const hasControlGroups = (): boolean =>
  hierarchies().some(({ controllers }) => controllers === 'memory');

const folderOf = ({ controllers, group }: Hierarchy, cluster: string): string =>
  join(ROOT, controllers, group, cluster);

/** Mounts them in the enclosure, where /sys is its own and has none. */
export async function mountControlGroups(): Promise<void> {
  await runScript(ENCLOSURE, mountScript());
}

/** Lines that mount the hierarchies on a bare /sys; in a cgroup namespace their roots are the caller's groups. */
export const mountScript = (): readonly string[] => [
  `mount -t tmpfs -o mode=755 cgroups ${ROOT}`,
  ...hierarchies().map(
    ({ controllers }) =>
      `mkdir ${ROOT}/${controllers} && mount -t cgroup -o ${controllers} cgroup ${ROOT}/${controllers}`,
  ),
];

/** Makes the groups of a node and returns the files to which a process writes "0" to join them. */
export function createNodeGroups(cluster: string, node: string): readonly string[] {
  return hierarchies().map((hierarchy) => {
    const parent = folderOf(hierarchy, cluster);
    const folder = join(parent, node);
    for (const each of [parent, folder]) {
      mkdirSync(each, { recursive: true });
      // A new group of processors is empty and takes no process until it is told.
      for (const file of ['cpuset.cpus', 'cpuset.mems']) {
        if (existsSync(join(each, file)))
          writeFileSync(join(each, file), readFileSync(join(each, '..', file)));
      }
    }
    return join(folder, 'cgroup.procs');
  });
}

/** Removes the groups of a cluster whose processes end; waits for them up to a bound. Synchronous: it is the last thing of a program. */
export function removeGroups(cluster: string): void {
  const clock = new Int32Array(new SharedArrayBuffer(4));
  const end = performance.now() + REMOVAL_BOUND_MS;
  for (const folder of hierarchies().map((each) => folderOf(each, cluster))) {
    while (existsSync(folder) && !removeTree(folder) && performance.now() < end)
      Atomics.wait(clock, 0, 0, 20);
  }
}

/** Removes the groups `prefix<pid>` of programs that were killed before they could: those whose process is no more. */
export function removeAbandonedGroups(prefix: string): void {
  for (const { controllers, group } of hierarchies()) {
    const folder = join(ROOT, controllers, group);
    if (!existsSync(folder)) continue;
    for (const name of readdirSync(folder).filter((each) => each.startsWith(prefix))) {
      if (!existsSync(`/proc/${name.slice(prefix.length)}`)) removeTree(join(folder, name));
    }
  }
}

/** False when a process is left in it. */
function removeTree(folder: string): boolean {
  try {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      if (entry.isDirectory() && !removeTree(join(folder, entry.name))) return false;
    }
    rmdirSync(folder);
    return true;
  } catch {
    return !existsSync(folder); // busy, or another program removes it too
  }
}
