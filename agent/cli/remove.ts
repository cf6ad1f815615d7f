// Program: takes Weft off the node that it runs on, once, and says what it did; manifests/remove runs it on every node. It waits for
// as long as an agent runs there: that one would make everything again. Exit code 1: something could not be removed, so run it again.
import { setTimeout as pause } from 'node:timers/promises';

import { findNodeAddress } from '../linux/node-address.ts';
import { NETLINK_ROUTE, openNetlink } from '../linux/netlink-socket.ts';
import { openNft } from '../linux/nft.ts';
import { OperationError } from '../operation-error.ts';
import { parseSettings } from '../settings.ts';
import { agentRuns, removeNode } from './node-removal.ts';

const LOOK_MS = 500;

async function main(): Promise<void> {
  const settings = parseSettings(process.env);
  const route = openNetlink(NETLINK_ROUTE);
  if (agentRuns(route)) {
    console.log(
      `Waiting: an agent of Weft still runs on node "${settings.nodeName}"; nothing is removed until it has ended: kubectl delete -f weft.yaml`,
    );
    while (agentRuns(route)) await pause(LOOK_MS);
  }
  const nodeIp = settings.nodeIp ?? findNodeAddress();
  const nft = openNft(process.env['PATH'] ?? '');
  for (const line of await removeNode({ settings, nodeIp, route, nft })) console.log(line);
  route.close();
  console.log(`Weft is off node "${settings.nodeName}"`);
}

process.on('SIGTERM', () => process.exit(1)); // the first process of a container has no default for it
try {
  await main();
  process.exit(0);
} catch (error) {
  if (!(error instanceof OperationError)) throw error;
  console.error(error.message);
  process.exit(1);
}
