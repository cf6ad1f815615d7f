// The sides that Weft is measured against: the kernel's VXLAN device, no overlay at all, a C loop of Weft's system calls, wireguard-go.
import type { Lab } from '../../test/lab/lab.ts';
import { runCommand, runScript } from '../../test/lab/command.ts';
import { until } from '../../test/lab/condition.ts';
import { LAB_DIRECTORY } from '../../test/lab/enclosure.ts';
import { VXLAN_PORT } from '../../test/lab/kernel-node.ts';
import { type LabProcess, startProcess } from '../../test/lab/process.ts';
import { attachRoutedPod, nthAddress } from '../../test/lab/routed-pod.ts';
import { LIMIT_PROGRAM } from './compiled.ts';
import { CORES, type Link, type Side, addBareNodes } from './side.ts';
import { configureWireguard, createKeyPair, prepareWireguard } from './wireguard.ts';

const UNDERLAY_MTU = 1500;
const VXLAN_MTU = 1450;
const WIREGUARD_MTU = 1420;
/** As Weft's TUN device has it: what is compared are the loops, not the queues before them. */
export const TUN_QUEUE_LENGTH = 10_000;

const OVERLAY = 'overlay';

const BLOCKS = {
  vxlan: ['10.47.248.0/26', '10.47.248.64/26'],
  none: ['10.47.249.0/26', '10.47.249.64/26'],
  limit: ['10.47.250.0/26', '10.47.250.64/26'],
  wireguard: ['10.47.251.0/26', '10.47.251.64/26'],
} as const;

/** Of sides that the kernel carries. */
const inKernel: Pick<Side, 'programs' | 'close'> = { programs: () => [[], []], close: async () => {} };

export async function makeVxlan(lab: Lab): Promise<Side> {
  const [first, second] = BLOCKS.vxlan;
  const common = { register: false, port: VXLAN_PORT };
  const left = await lab.addKernelNode('vxlan-1', { ...common, block: first, core: CORES[0] });
  const right = await lab.addKernelNode('vxlan-2', { ...common, block: second, core: CORES[1] });
  await Promise.all([left.learn(right), right.learn(left)]);
  return {
    name: 'vxlan',
    nodes: [left.node, right.node],
    from: await left.addPod('left'),
    to: await right.addPod('right'),
    ...inKernel,
  };
}

export async function makeNone(lab: Lab): Promise<Side> {
  const nodes = await addBareNodes(lab, 'none');
  const link: Link = { name: 'none', nodes, blocks: BLOCKS.none, mtu: UNDERLAY_MTU };
  const pods = await addPods(link);
  await eachWay(link, async (node, { block, peer }) => {
    await runScript(node.place, [`ip route add ${block} via ${peer.address}`]);
  });
  return { ...pods, name: 'none', nodes, ...inKernel };
}

export async function makeLimit(lab: Lab): Promise<Side> {
  const nodes = await addBareNodes(lab, 'limit');
  const link: Link = { name: 'limit', nodes, blocks: BLOCKS.limit, mtu: VXLAN_MTU };
  const programs = await eachWay(link, (node, { peer }) =>
    startTunnel(link, { node, command: [LIMIT_PROGRAM, OVERLAY, node.address, peer.address] }),
  );
  return finishTunnels(link, programs);
}

export async function makeWireguard(lab: Lab, program: string): Promise<Side> {
  const nodes = await addBareNodes(lab, 'wireguard');
  const link: Link = { name: 'wireguard', nodes, blocks: BLOCKS.wireguard, mtu: WIREGUARD_MTU };
  const keys = [createKeyPair(), createKeyPair()] as const;
  const programs = await eachWay(link, async (node, { peer, block, index }) => {
    await prepareWireguard(node);
    const started = await startTunnel(link, { node, command: [program, '--foreground', OVERLAY] });
    const [own, other] = index === 0 ? keys : [keys[1], keys[0]];
    const wanted = { interface: OVERLAY, own, other, endpoint: peer.address, allowed: block };
    await configureWireguard(node, wanted);
    return started;
  });
  return finishTunnels(link, programs);
}

async function finishTunnels(link: Link, programs: readonly LabProcess[]): Promise<Side> {
  await eachWay(link, async (node, { block }) => {
    await runScript(node.place, [
      `ip link set ${OVERLAY} mtu ${link.mtu} txqueuelen ${TUN_QUEUE_LENGTH} up`,
      `ip route add ${block} dev ${OVERLAY}`,
    ]);
  });
  const pods = await addPods(link);
  const { name, nodes } = link;
  return {
    ...pods,
    name,
    nodes,
    programs: () => programs.map(({ pid }) => [pid]),
    close: async () => void (await Promise.all(programs.map((program) => program.kill()))),
  };
}

/** Starts a program that makes the node's TUN device. */
export async function startTunnel(
  { name }: Link,
  {
    node,
    command,
    device = OVERLAY,
  }: { readonly node: Link['nodes'][0]; readonly command: readonly string[]; readonly device?: string },
): Promise<LabProcess> {
  const started = startProcess({ place: node.place, command, logFile: `${LAB_DIRECTORY}/${name}.log` });
  const find = ['sh', '-c', `test -e /sys/class/net/${device} && echo yes || echo no`];
  const isThere = async (): Promise<boolean> => {
    if (!started.running()) throw new Error(`"${command.join(' ')}" has ended; see ${started.logFile}`);
    return (await runCommand(node.place, find)).trim() === 'yes';
  };
  await until(isThere, { what: `${name} to make its TUN device` });
  return started;
}

async function addPods({ nodes, blocks, mtu }: Link): Promise<Pick<Side, 'from' | 'to'>> {
  for (const { place } of nodes) await runScript(place, ['echo 1 >/proc/sys/net/ipv4/ip_forward']);
  const [from, to] = await Promise.all([
    attachRoutedPod(nodes[0], { name: 'left', address: nthAddress(blocks[0], 2), mtu, hostInterface: 'pod' }),
    attachRoutedPod(nodes[1], {
      name: 'right',
      address: nthAddress(blocks[1], 2),
      mtu,
      hostInterface: 'pod',
    }),
  ]);
  return { from, to };
}

interface OtherEnd {
  readonly peer: Link['nodes'][0];
  readonly block: string;
  /** Of the near end. */
  readonly index: 0 | 1;
}

/** For each node, one after the other, with the other one and its block. */
async function eachWay<T>(
  { nodes, blocks }: Link,
  act: (node: Link['nodes'][0], other: OtherEnd) => Promise<T>,
): Promise<readonly [T, T]> {
  const first = await act(nodes[0], { peer: nodes[1], block: blocks[1], index: 0 });
  return [first, await act(nodes[1], { peer: nodes[0], block: blocks[0], index: 1 })];
}
