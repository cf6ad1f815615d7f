// What an agent says of its paths, for the tests of the MTU.
import type { LabNode } from './lab.ts';

/** By name of the peer. */
export async function pathMtus(node: LabNode): Promise<ReadonlyMap<string, number>> {
  const lines = (await node.agent.metrics()).matchAll(/^weft_peer_path_mtu_bytes\{peer="([^"]*)"\} (\d+)$/gm);
  return new Map([...lines].map(([, peer = '', mtu]) => [peer, Number(mtu)]));
}

/** Whether each path of each of these nodes to another of them takes what is expected. */
export async function pathsAre(
  nodes: readonly LabNode[],
  expected: (from: LabNode, to: LabNode) => number,
): Promise<boolean> {
  for (const from of nodes) {
    const found = await pathMtus(from);
    for (const to of nodes) if (to !== from && found.get(to.name) !== expected(from, to)) return false;
  }
  return true;
}
