// The walls of a lab: the program runs itself again in network, mount and process namespaces of its own, and everything that it
// makes lives there. When that program ends, however it ends (also kill -9 of either process), the kernel removes all of it:
//
//   this program ── setpriv (dies with it) ── unshare (its child dies with it) ── sh (reaps orphans) ── the same program, inside
//
// Files of the lab are on a tmpfs of that mount namespace, so none is left on disk.
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import process from 'node:process';

/** Set inside; its value is the process id of the program outside. */
const INSIDE = 'WEFT_LAB_INSIDE';

/** Folder of the lab's files; a tmpfs that ends with the lab. Nodes see it too. */
export const LAB_DIRECTORY = '/run/lab';

const ENTER = '--pdeathsig SIGKILL unshare --net --mount --pid --fork --kill-child --mount-proc sh -c';

// Runs as the first process of the enclosure. The trailing exit keeps the shell there as the parent of orphans.
const PREPARE = [
  'mount -t tmpfs -o mode=755 lab-run /run',
  'mount -t tmpfs -o mode=755 lab-state /var/lib',
  'mount -t sysfs sysfs /sys',
  `mkdir ${LAB_DIRECTORY} /run/netns /run/weft /var/lib/weft`,
  'ip link set lo up',
  '"$@"; exit $?',
].join(' && ');

export const isEnclosed = (): boolean => process.env[INSIDE] !== undefined;

/** Process id of the program outside that runs the enclosure, as it is seen there. */
export const enclosingPid = (): number => Number(process.env[INSIDE]);

/** Returns inside the enclosure; outside it runs the program inside, ends with its exit code, and never returns. */
export async function enterEnclosure(): Promise<void> {
  if (isEnclosed()) return;
  if (process.getuid?.() !== 0) {
    fail('Cannot make network namespaces as an ordinary user: run it as root, for example with sudo');
  }
  if (!existsSync('/dev/net/tun')) {
    fail('Cannot open TUN devices, /dev/net/tun is missing: load the module with "modprobe tun"');
  }
  process.exit(await runEnclosed());
}

function fail(sentence: string): never {
  process.stderr.write(`${sentence}\n`);
  process.exit(1);
}

async function runEnclosed(): Promise<number> {
  const child = spawn(
    'setpriv',
    [...ENTER.split(' '), PREPARE, 'lab', process.execPath, ...process.execArgv, ...process.argv.slice(1)],
    // A session of its own: Ctrl-C reaches only this process, which then ends the whole enclosure at once.
    { stdio: 'inherit', detached: true, env: { ...process.env, [INSIDE]: String(process.pid) } },
  );
  return new Promise((resolve) => {
    let stopped = 0;
    const stop = (signal: NodeJS.Signals, code: number): void => {
      process.on(signal, () => {
        stopped = code;
        endEnclosure(child);
      });
    };
    stop('SIGINT', 130);
    stop('SIGTERM', 143);
    stop('SIGHUP', 129);
    child.on('error', (error) => fail(`Cannot start setpriv: ${error.message}; install util-linux`));
    child.on('exit', (code) => resolve(stopped === 0 ? (code ?? 1) : stopped));
  });
}

/** `unshare` is killed; the kernel then kills its child, and with that all of the process namespace. */
function endEnclosure(child: ChildProcess): void {
  child.kill('SIGKILL');
}
