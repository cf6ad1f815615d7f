// Limits of the machine that namespaces do not part: root's inotify instances are counted over all of them, so clusters that run beside
// each other, and what else root runs, share them. A kubelet that gets none ends, and says so only in its log.
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';

const LIMIT = '/proc/sys/fs/inotify/max_user_instances';
/** Counted on a cluster of three nodes (34), and room for what its pods and a second file's cluster hold at the same time. */
const NEEDED = 40;

/** What is in the way of one more cluster, with its remedy; undefined when nothing is. */
export function missingLimit(): string | undefined {
  const limit = Number(readFileSync(LIMIT, 'utf8'));
  const used = inotifyInstances();
  if (limit - used >= NEEDED) return undefined;
  return `Cannot run Kubernetes here: it needs ${NEEDED} inotify instances, and ${Math.max(0, limit - used)} of root's ${limit} are free; end another cluster, or raise the limit with "sysctl fs.inotify.max_user_instances=512"`;
}

function inotifyInstances(): number {
  let found = 0;
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    found += instancesOf(`/proc/${pid}/fd`);
  }
  return found;
}

function instancesOf(folder: string): number {
  try {
    return readdirSync(folder).filter((name) => target(`${folder}/${name}`) === 'anon_inode:inotify').length;
  } catch {
    return 0; // the process has ended
  }
}

function target(link: string): string {
  try {
    return readlinkSync(link);
  } catch {
    return ''; // it has been closed
  }
}
