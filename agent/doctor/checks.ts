// Every check of the doctor, the likely causes first: of two findings about one fault the one that names it comes before what follows from it.
import type { Check } from './check.ts';
import { AGENT_CHECKS } from './checks/agent.ts';
import { CLUSTER_CHECKS, TOLD_CHECKS } from './checks/cluster.ts';
import { DATAPLANE_CHECKS } from './checks/dataplane.ts';
import { FIREWALL_CHECKS } from './checks/firewall.ts';
import { INTERFACE_CHECKS } from './checks/interfaces.ts';
import { NODE_CHECKS } from './checks/node.ts';
import { PEER_CHECKS } from './checks/peers.ts';
import { POD_CHECKS } from './checks/pods.ts';
import { ROUTE_CHECKS } from './checks/routes.ts';

export const CHECKS: readonly Check[] = [
  ...AGENT_CHECKS,
  ...NODE_CHECKS,
  ...ROUTE_CHECKS,
  ...INTERFACE_CHECKS,
  ...FIREWALL_CHECKS,
  ...DATAPLANE_CHECKS,
  ...POD_CHECKS,
  ...PEER_CHECKS,
  ...CLUSTER_CHECKS,
  ...TOLD_CHECKS,
];
