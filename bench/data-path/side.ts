// A side of the comparison: two nodes on an underlay, one pod on each, and something that carries packets between them. Everything of
// the first node runs on core 0, everything of the second on core 1. The sides differ in what carries, and
// the nodes of Weft and `furnished` in that their pods are on a bridge behind Weft's rules; the others route to theirs directly.
import { childrenOf } from '../../test/lab/process.ts';
import type { Lab } from '../../test/lab/lab.ts';
import type { NodeNamespace } from '../../test/lab/node-namespace.ts';
import type { Pod } from '../../test/lab/pod.ts';

export const SIDE_NAMES = ['weft', 'limit', 'furnished', 'vxlan', 'wireguard', 'none'] as const;
export type SideName = (typeof SIDE_NAMES)[number];

export const SIDE_TITLES: Readonly<Record<SideName, string>> = {
  weft: 'Weft',
  limit: 'C loop',
  furnished: 'C loop on Weft node',
  vxlan: 'kernel VXLAN',
  wireguard: 'wireguard-go',
  none: 'no overlay',
};

export const CORES = [0, 1] as const;

export interface Side {
  readonly name: SideName;
  readonly nodes: readonly [NodeNamespace, NodeNamespace];
  /** Its load goes from here … */
  readonly from: Pod;
  /** … to here. */
  readonly to: Pod;
  /** Process ids of what carries packets in user space, for each node; none where the kernel does it. */
  readonly programs: () => readonly (readonly number[])[];
  /** Ends what the lab does not end by itself. */
  readonly close: () => Promise<void>;
}

export interface Link {
  readonly name: SideName;
  readonly nodes: readonly [NodeNamespace, NodeNamespace];
  /** The blocks of the two nodes' pods. */
  readonly blocks: readonly [string, string];
  readonly mtu: number;
}

export async function addBareNodes(lab: Lab, name: SideName): Promise<Link['nodes']> {
  return [await lab.addBareNode(`${name}-1`, CORES[0]), await lab.addBareNode(`${name}-2`, CORES[1])];
}

/** A process and all that it started. */
export const processTree = (pid: number): readonly number[] => [
  pid,
  ...childrenOf(pid).flatMap((child) => processTree(child.pid)),
];
