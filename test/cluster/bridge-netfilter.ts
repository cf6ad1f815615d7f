// net.bridge.bridge-nf-call-iptables on the nodes: with 1 (what kubeadm sets) iptables' and nftables' IP rules also see frames that a bridge
// passes from port to port. Needs the module br_netfilter; each network namespace has its own value.
import { existsSync } from 'node:fs';

import { runScript } from '../lab/command.ts';
import type { Cluster } from './cluster.ts';

const SETTING = '/proc/sys/net/bridge/bridge-nf-call-iptables';

export type BridgeNetfilter = 0 | 1;

/** On all nodes; throws when a node does not take it. */
export async function setBridgeNetfilter(cluster: Cluster, value: BridgeNetfilter): Promise<void> {
  if (!existsSync(SETTING)) {
    throw new Error(`Cannot set ${SETTING}: it is missing; load the module with "modprobe br_netfilter"`);
  }
  for (const { place } of cluster.nodes) {
    await runScript(place, [`echo ${value} >${SETTING}`, `[ "$(cat ${SETTING})" = ${value} ]`]);
  }
}
