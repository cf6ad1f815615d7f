// A node's namespaces: network, mounts and host name of its own, held by one sleeping process, and an `eth0` on the underlay.
//
//   enclosure: underlay bridge 172.31.0.1/16 ── u-<name> ═ veth ═ eth0 172.31.0.(10+i)/16 :node
//
// Its own in the node: /run/weft, /run/netns, /var/lib/weft (tmpfs) and /sys. Shared with the enclosure: everything else.
import { createHash } from 'node:crypto';

import { ENCLOSURE, type Place, onCore, placeOfProcess, runCommand, runScript, spawnIn } from './command.ts';

import { LAB_DIRECTORY } from './enclosure.ts';

export const UNDERLAY_GATEWAY = '172.31.0.1';
const UNDERLAY_PREFIX = 16;
const OWN_DIRECTORIES = ['/run/weft', '/run/netns', '/var/lib/weft'];
const UNSHARE = 'unshare --net --mount --uts --propagation private sh -ec';

/** Makes the underlay bridge in the enclosure. Once per lab. */
export async function createUnderlay(): Promise<void> {
  await runScript(ENCLOSURE, [
    'ip link add underlay type bridge stp_state 0 forward_delay 0 mcast_snooping 0',
    `ip address add ${UNDERLAY_GATEWAY}/${UNDERLAY_PREFIX} dev underlay`,
    'ip link set underlay up',
    'if [ -e /proc/sys/net/bridge/bridge-nf-call-iptables ]; then echo 0 >/proc/sys/net/bridge/bridge-nf-call-iptables; fi',
  ]);
}

/** Also empties the lab's folder, so that another lab can follow. */
export async function removeUnderlay(): Promise<void> {
  await runScript(ENCLOSURE, ['ip link delete underlay', `rm -rf ${LAB_DIRECTORY}/*`]);
}

export interface NodeNamespace {
  readonly place: Place;
  readonly name: string;
  /** Process that holds the namespaces; /proc/<pid>/root shows the node's files. */
  readonly pid: number;
  /** Undefined: every core. */
  readonly core: number | undefined;
  /** Underlay address, as text. */
  readonly address: string;
  /** The other end of its eth0, in the enclosure. */
  readonly cable: string;
  /** Host path of a file of the node. */
  readonly path: (file: string) => string;
  /** Takes the node's cable out (or puts it back): the underlay is gone, nothing else changes. */
  readonly setCable: (plugged: boolean) => Promise<void>;
  readonly remove: () => Promise<void>;
}

/** Device names have 15 characters at most, so a long name is shortened by its hash. */
const cableName = (name: string): string =>
  name.length <= 13 ? `u-${name}` : `u-${createHash('sha256').update(name).digest('hex').slice(0, 12)}`;

export interface NodeNamespaceOptions {
  /** The only processor core that programs of the node and its pods run on; any, where none is given. */
  readonly core?: number | undefined;
}

export async function createNodeNamespace(
  name: string,
  index: number,
  { core }: NodeNamespaceOptions = {},
): Promise<NodeNamespace> {
  const address = `172.31.${index >> 7}.${10 + (index & 127)}`;
  const holder = spawnIn(
    ENCLOSURE,
    [
      ...UNSHARE.split(' '),
      [
        ...OWN_DIRECTORIES.map((at) => `mount -t tmpfs -o mode=755 weft-lab ${at}`),
        'mount -t sysfs sysfs /sys',
        `hostname ${name}`,
        'ip link set lo up',
        'echo ready',
        'exec sleep infinity',
      ].join('\n'),
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const pid = holder.pid ?? -1;
  const ended = new Promise<void>((resolve) => holder.on('exit', () => resolve()));
  await new Promise<void>((resolve, reject) => {
    holder.stdout?.once('data', () => resolve());
    holder.once('error', reject);
    holder.once('exit', (code) =>
      reject(new Error(`Cannot make the namespaces of node "${name}" (${code})`)),
    );
  });
  const place = onCore(placeOfProcess(name, pid), core);
  const cable = cableName(name);
  await runScript(ENCLOSURE, [
    `ip link add ${cable} type veth peer name eth0 netns ${pid}`,
    `ip link set ${cable} master underlay up`,
  ]);
  await runScript(place, [
    `ip address add ${address}/${UNDERLAY_PREFIX} dev eth0`,
    'ip link set eth0 up',
    `ip route add default via ${UNDERLAY_GATEWAY}`,
  ]);
  return {
    place,
    name,
    pid,
    core,
    address,
    cable,
    path: (file) => `/proc/${pid}/root${file}`,
    setCable: async (plugged) => {
      await runCommand(ENCLOSURE, ['ip', 'link', 'set', cable, plugged ? 'up' : 'down']);
    },
    remove: async () => {
      await runCommand(ENCLOSURE, ['ip', 'link', 'delete', cable]);
      holder.kill('SIGKILL');
      await ended;
    },
  };
}
