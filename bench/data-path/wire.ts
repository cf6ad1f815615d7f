// What crosses the underlay of a side: super-frames, as between two namespaces or through a virtual switch, or frames of MTU size, cut
// before the wire as in front of a network card without segmentation. And a look at what really arrives.
import { runCommand, runScript, tryCommand } from '../../test/lab/command.ts';
import type { NodeNamespace } from '../../test/lab/node-namespace.ts';
import { runStreams } from './load-program.ts';
import type { Side, SideName } from './side.ts';

export type Wire = 'super' | 'mtu';

const SEGMENTATIONS = [
  'tx-tcp-segmentation',
  'tx-tcp-ecn-segmentation',
  'tx-tcp6-segmentation',
  'tx-udp-segmentation',
  'tx-udp_tnl-segmentation',
  'tx-udp_tnl-csum-segmentation',
];
const ETHERNET_BYTES = 14;
const LOOKED_AT = 2000;
const LOOK_SECONDS = 2;

const wires = new WeakMap<NodeNamespace, Wire>();

export async function setWire({ nodes }: Side, wire: Wire): Promise<void> {
  for (const node of nodes) {
    if ((wires.get(node) ?? 'super') === wire) continue;
    const words = SEGMENTATIONS.flatMap((feature) => [feature, wire === 'mtu' ? 'off' : 'on']);
    await runCommand(node.place, ['ethtool', '-K', 'eth0', ...words]);
    wires.set(node, wire);
  }
}

/** Bytes of the largest IP packet that arrived at the second node while `act` ran. */
export async function largestPacket(
  { nodes: [, second] }: Side,
  act: () => Promise<unknown>,
): Promise<number> {
  const dump = `timeout ${LOOK_SECONDS} tcpdump -l -i eth0 -nn -e -Q in -c ${LOOKED_AT} 'udp or tcp' 2>/dev/null`;
  const [looked] = await Promise.all([tryCommand(second.place, ['sh', '-c', dump]), act()]);
  const lengths = [...looked.stdout.matchAll(/ length (\d+): /g)].map(([, length]) => Number(length));
  return Math.max(0, ...lengths) - ETHERNET_BYTES;
}

export interface WireLook {
  readonly side: SideName;
  readonly wire: Wire;
  /** Bytes of the largest IP packet. */
  readonly largest: number;
}

/** That the wires are what they are called: a TCP stream on each. */
export async function lookAtWires(
  sides: readonly Side[],
  wanted: readonly Wire[],
): Promise<readonly WireLook[]> {
  const looks: WireLook[] = [];
  for (const side of sides) {
    for (const wire of wanted) {
      await setWire(side, wire);
      const largest = await largestPacket(side, () =>
        runStreams(side, { streams: 1, seconds: LOOK_SECONDS / 4 }),
      );
      looks.push({ side: side.name, wire, largest });
    }
  }
  return looks;
}

/** Receive work of each node on its own core, as its network card's interrupts would have it; without, the sender's core does it. */
export async function steerReceiving({ nodes }: Side): Promise<void> {
  for (const { place, core } of nodes) {
    const mask = (1 << (core ?? 0)).toString(16);
    await runScript(place, [`echo ${mask} >/sys/class/net/eth0/queues/rx-0/rps_cpus`]);
  }
}
