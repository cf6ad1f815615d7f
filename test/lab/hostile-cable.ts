// Puts the hostile relay into a node's cable: the cable's far end moves into a namespace of its own, where the relay forwards frames between
// it and the underlay bridge. Segmentation is taken from the devices, so that faults meet frames of the wire's size.
//
//   node: eth0 ═ u-<node> ── hostile-relay.ts ── h-near ═ h-far ── underlay bridge        (u-<node>, h-near in namespace "hostile")
import { once } from 'node:events';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

import { ENCLOSURE, type Place, runScript, spawnIn } from './command.ts';

export const VXLAN_PORT = 6784;

const RELAY = fileURLToPath(new URL('hostile-relay.ts', import.meta.url));
const NAMESPACE = 'hostile';
const HOSTILE: Place = { name: NAMESPACE, enter: ['nsenter', `--net=/run/netns/${NAMESPACE}`] };

/** One direction: VXLAN datagrams, and what became of them. */
export interface RelayTally {
  readonly frames: number;
  readonly lost: number;
  readonly doubled: number;
  readonly held: number;
  readonly corrupted: number;
  /** That the kernel did not take. */
  readonly failed: number;
}

export interface HostileCable {
  /** Takes the relay out again; its tally from the node and to the node. */
  readonly remove: () => Promise<{ readonly fromNode: RelayTally; readonly toNode: RelayTally }>;
}

/** Without them no frame on the cable is larger than its MTU, and all outer checksums are complete. */
export const WITHOUT_OFFLOADS: readonly string[] = [
  'ethtool -K eth0 tx off tso off gso off tx-udp-segmentation off gro off',
];

export async function insertHostileCable(cable: string, seed: number): Promise<HostileCable> {
  await runScript(ENCLOSURE, [
    `ip netns add ${NAMESPACE}`,
    `ip link add h-far type veth peer name h-near netns ${NAMESPACE}`,
    'ethtool -K h-far gro off',
    'ip link set h-far master underlay up',
    `ip link set ${cable} nomaster netns ${NAMESPACE}`,
  ]);
  await runScript(HOSTILE, [
    'echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6',
    `for device in h-near ${cable}; do ethtool -K $device gro off; ip link set $device promisc on up; done`,
  ]);
  const putBack = async (): Promise<void> => {
    await runScript(HOSTILE, [`ip link set ${cable} netns ${process.pid}`, 'ip link delete h-near']);
    await runScript(ENCLOSURE, [`ip link set ${cable} master underlay up`, `ip netns delete ${NAMESPACE}`]);
  };
  let relay: Relay;
  try {
    relay = await startRelay([cable, 'h-near', String(seed)]);
  } catch (error) {
    await putBack();
    throw error;
  }
  return {
    remove: async () => {
      const [fromNode, toNode] = await relay.end();
      await putBack();
      return { fromNode, toNode };
    },
  };
}

interface Relay {
  readonly end: () => Promise<readonly [RelayTally, RelayTally]>;
}

/** Resolves when it forwards. */
async function startRelay(words: readonly string[]): Promise<Relay> {
  const relay = spawnIn(HOSTILE, [process.execPath, RELAY, ...words], { stdio: ['pipe', 'pipe', 'inherit'] });
  let output = '';
  relay.stdout?.setEncoding('utf8').on('data', (text: string) => (output += text));
  await new Promise<void>((resolve, reject) => {
    relay.once('error', reject);
    relay.once('exit', (code) => reject(new Error(`The hostile relay ended (${code})`)));
    relay.stdout?.once('data', () => resolve());
  });
  return {
    end: async () => {
      const ended = once(relay, 'close');
      relay.stdin?.end();
      await ended;
      return JSON.parse(output.trim().split('\n').at(-1) ?? '') as [RelayTally, RelayTally]; // as: the relay's last line
    },
  };
}
