// What a node must have for an agent to work with its settings; looked at before anything is opened, so a refusal leaves nothing half-made.
// The keeper asks for the least that it needs to carry packets, and for all of it only while another agent serves the node: a data plane
// that carries the pods there are is worth more than a refusal. Control asks for all of it at each start.
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';

import { type Ipv4, cidrContains, formatCidr, formatIpv4 } from '../proto/address.ts';
import { parseIpv4 } from '../proto/address-text.ts';
import { libc } from './linux/libc.ts';
import { findNodeAddress } from './linux/node-address.ts';
import { type Underlay, underlayOf } from './linux/underlay.ts';
import { OperationError } from './operation-error.ts';
import type { Environment, Settings } from './settings.ts';

export const ALLOCATION_LOG = 'allocations.log';

/** Outer IPv4 20 or IPv6 40, UDP 8, VXLAN 8, inner Ethernet 14. */
const ENCAPSULATION_BYTES: Readonly<Record<Underlay['family'], number>> = { ipv4: 50, ipv6: 70 };
/** Inside pods. An IPv4 host need not take larger packets (RFC 791); on a smaller underlay the outer ones are fragmented. */
export const SMALLEST_MTU = 576;
export type { Underlay } from './linux/underlay.ts';
const LOCK_EX_NB = 2 | 4; // LOCK_EX | LOCK_NB

export interface UsableNode {
  readonly nodeIp: Ipv4;
  /** MTU inside pods. */
  readonly mtu: number;
}

const invalid = (setting: string, value: string, problem: string): OperationError =>
  new OperationError(`Cannot use ${setting}="${value}": ${problem}`, {
    code: 'SETTING_INVALID',
    context: { setting, value },
  });

/** The node's own address. Throws OperationError: NO_NODE_ADDRESS, UNDERLAY_MISSING, SETTING_INVALID. */
export function findUnderlay({ nodeIp: given, range }: Settings): {
  readonly nodeIp: Ipv4;
  readonly underlay: Underlay;
} {
  const nodeIp = given ?? findNodeAddress();
  if (cidrContains(range, nodeIp)) {
    throw invalid(
      'IPALLOC_RANGE',
      formatCidr(range),
      `it overlaps the node's own address ${formatIpv4(nodeIp)}; choose a range that no host uses`,
    );
  }
  return { nodeIp, underlay: underlayOf(nodeIp) };
}

/** Throws OperationError as findUnderlay does. */
export function requireUsableNode(settings: Settings, environment: Environment): UsableNode {
  const { nodeIp, underlay } = findUnderlay(settings);
  const mtu = podMtu(settings, underlay);
  requireFreeOfServices(settings, environment);
  return { nodeIp, mtu };
}

export const largestPodMtu = ({ mtu, family }: Underlay): number => mtu - ENCAPSULATION_BYTES[family];

/** MTU inside pods. Throws OperationError SETTING_INVALID when the underlay cannot carry what is set. */
export function podMtu({ mtu }: Pick<Settings, 'mtu'>, underlay: Underlay): number {
  const largest = largestPodMtu(underlay);
  if (mtu !== undefined && mtu > largest) {
    throw invalid(
      'WEAVE_MTU',
      String(mtu),
      `interface "${underlay.name}" carries ${underlay.mtu} bytes, which leaves ${largest} for pods; write at most that, or leave it empty`,
    );
  }
  return mtu ?? largest;
}

/**
 * The API server's address is the one Service address that every pod is told: known without asking anybody. Throws OperationError
 * SETTING_INVALID.
 */
function requireFreeOfServices({ range }: Settings, environment: Environment): void {
  const host = environment['KUBERNETES_SERVICE_HOST'] ?? '';
  const address = attempt(() => parseIpv4(host));
  if (address === undefined || !cidrContains(range, address)) return;
  throw invalid(
    'IPALLOC_RANGE',
    formatCidr(range),
    `it overlaps the Services' addresses: the API server's is ${host}; choose a range that neither Services nor hosts use`,
  );
}

/** Whether another agent holds the allocation log. False where that cannot be told. */
export function anotherAgentServes(stateDirectory: string): boolean {
  let fd: number;
  try {
    fd = openSync(join(stateDirectory, `${ALLOCATION_LOG}.lock`), 'r');
  } catch {
    return false;
  }
  try {
    return libc.flock(fd, LOCK_EX_NB) < 0;
  } finally {
    closeSync(fd); // and with it the lock, if it was ours
  }
}

function attempt<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch {
    return undefined;
  }
}
