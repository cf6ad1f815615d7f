// The C loop on nodes that Weft has furnished: bridge, routes, connection tracking and nftables rules are Weft's, its agents are gone. Beside the
// C loop on bare nodes it tells what the node's own plumbing costs, and beside Weft what the data plane's program costs.
import { runScript, tryCommand } from '../../test/lab/command.ts';
import { until } from '../../test/lab/condition.ts';
import type { Lab } from '../../test/lab/lab.ts';
import type { LabProcess } from '../../test/lab/process.ts';
import { LIMIT_PROGRAM } from './compiled.ts';
import { CORES, type Link, type Side } from './side.ts';
import { TUN_QUEUE_LENGTH, startTunnel } from './yardsticks.ts';

const RANGE = '10.32.0.0/12';
/** Weft's, whose name the rules know. */
const DEVICE = 'weft0';
const MTU = 1450;

export async function makeFurnishedLimit(lab: Lab): Promise<Side> {
  const name = 'furnished';
  const [left, right] = await Promise.all(
    CORES.map((core, index) => lab.addNode(`${name}-${index + 1}`, { core })),
  );
  if (left === undefined || right === undefined) throw new Error('No nodes');
  const from = await left.addPod('left');
  const to = await right.addPod('right');
  const nodes: Link['nodes'] = [left.namespace, right.namespace];
  // The TUN goes with the last of their processes, the rest stays.
  await Promise.all(
    [left, right].map(async ({ agent, namespace }) => {
      await agent.kill();
      const isGone = async (): Promise<boolean> =>
        (await tryCommand(namespace.place, ['test', '-e', `/sys/class/net/${DEVICE}`])).status !== 0;
      await until(isGone, { what: `"${DEVICE}" of ${namespace.name} to go` });
    }),
  );
  const link: Link = { name, nodes, blocks: [RANGE, RANGE], mtu: MTU };
  const programs: LabProcess[] = [];
  for (const [index, node] of nodes.entries()) {
    const peer = nodes[1 - index]!; // !: two nodes
    const command = [LIMIT_PROGRAM, DEVICE, node.address, peer.address];
    programs.push(await startTunnel(link, { node, command, device: DEVICE }));
    await runScript(node.place, [
      `ip link set ${DEVICE} mtu ${MTU} txqueuelen ${TUN_QUEUE_LENGTH} up`,
      `echo 1 >/proc/sys/net/ipv4/conf/${DEVICE}/forwarding`,
      `ip route replace ${RANGE} dev ${DEVICE}`,
    ]);
  }
  return {
    name,
    nodes,
    from,
    to,
    programs: () => programs.map(({ pid }) => [pid]),
    close: async () => void (await Promise.all(programs.map((program) => program.kill()))),
  };
}
