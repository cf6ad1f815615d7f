// What `weft doctor --fix` may do: what the agent itself would put right, or what cannot hurt traffic. As data, so that checks stay pure.
import { formatCidr } from '../../proto/address.ts';
import type { LinkChange } from '../../proto/rtnetlink-link.ts';
import type { Route } from '../../proto/rtnetlink-route.ts';
import type { PodElement } from '../control/node/pod-guard.ts';

export type Repair =
  /** Settings of one of Weft's interfaces. */
  | { readonly do: 'set_link'; readonly name: string; readonly change: LinkChange }
  /** One of Weft's own routes. */
  | { readonly do: 'set_route'; readonly route: Route; readonly interfaceName: string }
  /** A pod's element in the anti-spoof set. */
  | { readonly do: 'allow_pod'; readonly element: PodElement }
  /** The process was stopped by a signal. */
  | { readonly do: 'continue_process'; readonly pid: number; readonly role: string };

export interface Hands {
  setLink(name: string, change: LinkChange): void;
  setRoute(route: Route): void;
  allowPod(element: PodElement): void;
  continueProcess(pid: number): void;
}

/** What was done, in words. Throws OperationError. */
export function applyRepair(repair: Repair, hands: Hands): string {
  switch (repair.do) {
    case 'set_link':
      hands.setLink(repair.name, repair.change);
      return `set ${Object.keys(repair.change).join(', ')} of interface "${repair.name}"`;
    case 'set_route':
      hands.setRoute(repair.route);
      return `set route ${formatCidr(repair.route.destination)} via "${repair.interfaceName}"`;
    case 'allow_pod':
      hands.allowPod(repair.element);
      return `allowed "${repair.element.hostInterface}" in nftables set "bridge weft pods"`;
    case 'continue_process':
      hands.continueProcess(repair.pid);
      return `continued process ${repair.pid} (${repair.role})`;
    default:
      return repair satisfies never;
  }
}
