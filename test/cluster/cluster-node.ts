// A node of the cluster: network, mount, UTS, process and cgroup namespaces of its own, held by a first process that reaps orphans.
// Killing that process is the node's crash: the kernel ends all that runs on it, its disk stays, and it can boot from that.
//
//   enclosure: underlay bridge 172.31.0.1/16 ── u-<name> ═ veth ═ eth0 172.31.0.(10+i)/16 :node
//
// Its own in the node: /etc, /opt, /var/lib, /var/log (its disk), /run, /sys, /proc, control groups, and a boot id (until its next boot).
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import { ENCLOSURE, type Place, runCommand, runScript, spawnIn } from '../lab/command.ts';
import { until } from '../lab/condition.ts';
import { LAB_DIRECTORY } from '../lab/enclosure.ts';
import { UNDERLAY_GATEWAY } from '../lab/node-namespace.ts';
import { type LabProcess, startProcess } from '../lab/process.ts';
import { createNodeGroups, mountScript } from './cgroups.ts';

const UNDERLAY_PREFIX = 16;
/** What differs from boot to boot; programs of containers see it by a hook of the runtime (node-programs.ts). */
export const BOOT_ID = '/proc/sys/kernel/random/boot_id';

export interface ClusterNode {
  readonly name: string;
  readonly address: string;
  readonly place: Place;
  /** Process that holds the namespaces, as the enclosure sees it; /proc/<pid>/root shows the node's files. Another one after a boot. */
  readonly pid: number;
  /** Path in the enclosure of a file of the node. */
  readonly path: (file: string) => string;
  /** Starts a program whose log is LAB_DIRECTORY/<node>-<name>.log. */
  readonly start: (name: string, command: readonly string[]) => LabProcess;
  /** Everything on the node ends at once; its cable goes. Resolves when nothing of it runs. */
  readonly crash: () => Promise<void>;
  /** After a crash: as a machine that starts from its disk. Nothing runs on it yet (runNodePrograms starts the programs). */
  readonly boot: () => Promise<void>;
}

/** The kubelet sets these for the whole machine unless they are as it wants them: it is shown that they are. */
const KERNEL_SETTINGS = {
  'vm/overcommit_memory': 1,
  'vm/panic_on_oom': 0,
  'kernel/panic': 10,
  'kernel/panic_on_oops': 1,
  'kernel/keys/root_maxkeys': 1_000_000,
  'kernel/keys/root_maxbytes': 25_000_000,
};

/** What is written there stays in the node, on its disk. */
const ownFolder = (at: string, work: string): readonly string[] => [
  `mkdir -p ${work}/${at}/upper ${work}/${at}/work`,
  `mount -t overlay -o lowerdir=/${at},upperdir=${work}/${at}/upper,workdir=${work}/${at}/work overlay /${at}`,
];

/** Run by the node's first process; $1 is the node's name. The end waits for orphans, for as long as the node lives. */
const prepareScript = (work: string): string =>
  [
    'mount --make-rprivate /',
    `mkdir -p ${work}/run${LAB_DIRECTORY.slice('/run'.length)}`,
    ...ownFolder('etc', work),
    ...ownFolder('opt', work),
    // Through a folder beside: the lab's own files stay visible in the node's /run.
    `mount --bind ${LAB_DIRECTORY} ${work}/run${LAB_DIRECTORY.slice('/run'.length)}`,
    `mount --rbind ${work}/run /run`,
    `for at in /var/lib /var/log; do mkdir -p ${work}$at && mount --bind ${work}$at $at; done`,
    'mount -t proc proc /proc',
    // Taken away, not hidden: runc finds the machine's control groups in the list of mounts and believes them.
    'while mountpoint -q /sys; do umount -l /sys; done',
    'mount -t sysfs sysfs /sys',
    ...mountScript(),
    ...Object.entries(KERNEL_SETTINGS).flatMap(([name, value]) => {
      const file = `${work}/settings/${name}`;
      return [
        `mkdir -p $(dirname ${file})`,
        `echo ${value} >${file}`,
        `mount --bind ${file} /proc/sys/${name}`,
      ];
    }),
    `cat /proc/sys/kernel/random/uuid >${work}/boot-id && mount --bind ${work}/boot-id ${BOOT_ID}`,
    // Left by a crash.
    'find /sys/fs/cgroup -mindepth 2 -depth -type d -exec rmdir {} +',
    // Kubernetes asks that what it mounts is seen in containers.
    'mount --make-rshared /',
    'mkdir -p /etc/cni/net.d /opt/cni/bin /run/netns /run/lock',
    `rm -f /etc/resolv.conf && echo nameserver ${UNDERLAY_GATEWAY} >/etc/resolv.conf`,
    'hostname "$1" && echo "127.0.0.1 localhost $1" >/etc/hosts',
    'ip link set lo up',
    'echo ready',
    'while :; do sleep infinity & wait; done',
  ].join('\n');

/** Enters the node's namespaces and its control groups; the program ends when the one that started it does. */
const enterNode = (pid: number): readonly string[] => [
  ...`nsenter --target ${pid} --net --mount --uts --pid --cgroup sh -ec`.split(' '),
  'for at in /sys/fs/cgroup/*/cgroup.procs; do echo 0 >$at; done; exec setpriv --pdeathsig TERM "$@"',
  'node',
];

export interface ClusterNodeOptions {
  /** Name of the cluster's control groups. */
  readonly groups: string;
  readonly name: string;
  readonly index: number;
}

export async function createClusterNode({ groups, name, index }: ClusterNodeOptions): Promise<ClusterNode> {
  const address = `172.31.0.${10 + index}`;
  const cable = `u-${name}`;
  const work = join(LAB_DIRECTORY, name);
  mkdirSync(work);
  const powerUp = async (): Promise<PoweredNode> => {
    const powered = await powerOn({ name, work, groups: createNodeGroups(groups, name) });
    await runScript(ENCLOSURE, [
      `ip link add ${cable} type veth peer name eth0 netns ${powered.pid}`,
      `ip link set ${cable} master underlay up`,
    ]);
    await runScript({ name, enter: enterNode(powered.pid) }, [
      `ip address add ${address}/${UNDERLAY_PREFIX} dev eth0`,
      'ip link set eth0 up',
      `ip route add default via ${UNDERLAY_GATEWAY}`,
    ]);
    return powered;
  };
  let powered = await powerUp();
  const place: Place = {
    name,
    get enter() {
      return enterNode(powered.pid);
    },
  };
  return {
    name,
    address,
    place,
    get pid() {
      return powered.pid;
    },
    path: (file) => `/proc/${powered.pid}/root${file}`,
    start: (program, command) =>
      startProcess({ place, command, logFile: join(LAB_DIRECTORY, `${name}-${program}.log`) }),
    crash: async () => {
      await powered.off();
      await runScript(ENCLOSURE, [
        `ip link delete ${cable} 2>/dev/null || ! ip link show ${cable} >/dev/null 2>&1`,
      ]);
    },
    boot: async () => {
      rmSync(join(work, 'run'), { recursive: true });
      powered = await powerUp();
    },
  };
}

interface PoweredNode {
  readonly pid: number;
  /** Resolves when all its processes have ended. */
  readonly off: () => Promise<void>;
}

interface PowerOnOptions {
  readonly name: string;
  /** Folder of its disk. */
  readonly work: string;
  /** Files to which a process writes to join its control groups. */
  readonly groups: readonly string[];
}

/** Starts the first process and resolves when it has made the node. */
async function powerOn({ name, work, groups }: PowerOnOptions): Promise<PoweredNode> {
  const joinGroups = groups.map((file) => `echo 0 >${file}`);
  const unshare = 'exec unshare --net --mount --uts --pid --cgroup --fork --kill-child sh -ec "$@"';
  const holder = spawnIn(
    ENCLOSURE,
    ['sh', '-ec', [...joinGroups, unshare].join('\n'), 'node', prepareScript(work), 'node', name],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const ended = new Promise<void>((resolve) => holder.on('exit', () => resolve()));
  await new Promise<void>((resolve, reject) => {
    holder.stdout?.once('data', () => resolve());
    holder.once('error', reject);
    holder.once('exit', (code) =>
      reject(new Error(`Cannot make node "${name}": its first process ended (${code})`)),
    );
  });
  const pid = Number(await runCommand(ENCLOSURE, ['cat', `/proc/${holder.pid}/task/${holder.pid}/children`]));
  return {
    pid,
    off: async () => {
      holder.kill('SIGKILL');
      await ended;
      // The first process is the last to go: the kernel reaps all others before.
      await until(() => !existsSync(`/proc/${pid}`), { what: `everything on ${name} to end` });
    },
  };
}
