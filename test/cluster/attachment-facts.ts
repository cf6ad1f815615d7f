// What attachments leave on a node while they are there: equal before and after what left nothing.
import { runCommand } from '../lab/command.ts';
import { agentStatus } from './agent-processes.ts';
import type { ClusterNode } from './cluster-node.ts';

export interface AttachmentFacts {
  /** As the agent tells them: address, container. */
  readonly allocations: readonly string[];
  readonly interfaces: readonly string[];
  readonly guards: readonly string[];
  /** Those of single pods. */
  readonly hostRoutes: readonly string[];
  readonly podNamespaces: readonly string[];
}

/** What a shell command prints on the node, sorted, without empty lines. */
export const linesOn = async (node: ClusterNode, command: string): Promise<readonly string[]> =>
  (await runCommand(node.place, ['sh', '-ec', command]))
    .split('\n')
    .filter((line) => line !== '')
    .sort();

export interface Allocation {
  readonly address: string;
  readonly containerId: string;
}

/** The node's attachments as its agent has them. */
export async function allocationsOf(node: ClusterNode): Promise<readonly Allocation[]> {
  const report = JSON.parse(await agentStatus(node, '/report')) as {
    ipam: { allocations: readonly Allocation[] };
  }; // as: proto/node-report.ts
  return report.ipam.allocations;
}

export async function attachmentFacts(node: ClusterNode): Promise<AttachmentFacts> {
  const allocations = await allocationsOf(node);
  return {
    allocations: allocations.map(({ address, containerId }) => `${address} ${containerId}`).sort(),
    interfaces: await linesOn(node, `ip -o link show type veth | grep -o 'vethwe[^@:]*' || true`),
    guards: await linesOn(node, 'nft -s list table bridge weft | grep -v counter'),
    hostRoutes: await linesOn(node, `ip -4 route show | grep -E '^10\\.[0-9.]+ ' || true`),
    podNamespaces: await linesOn(node, 'ls /run/netns'),
  };
}
