// The MTU of TUN, bridge and new pods while control runs: the underlay's less the encapsulation, or what is set where the underlay carries
// it. Looked at with every look at the node's network. Pods keep the MTU of their ADD; where it is more than the TUN's, the kernel tells them.
import type { Settings } from '../../settings.ts';
import type { Logger } from '../../telemetry/logger.ts';
import { type Underlay, SMALLEST_MTU, largestPodMtu } from '../../preflight.ts';

export interface DeviceMtuOptions {
  readonly setting: Settings['mtu'];
  /** At the start, when the setting was checked. */
  readonly mtu: number;
  /** Throws OperationError UNDERLAY_MISSING. */
  readonly underlay: () => Underlay;
  readonly log: Pick<Logger, 'warn'>;
}

export interface DeviceMtu {
  current(): number;
  /** As the underlay is now. Throws OperationError UNDERLAY_MISSING. */
  look(): number;
}

export function createDeviceMtu({ setting, mtu, underlay, log }: DeviceMtuOptions): DeviceMtu {
  let current = mtu;
  return {
    current: () => current,
    look() {
      const found = underlay();
      const wanted = Math.max(SMALLEST_MTU, Math.min(setting ?? Infinity, largestPodMtu(found)));
      if (wanted !== current) {
        log.warn(
          'mtu_changed',
          `Interface "${found.name}" has an MTU of ${found.mtu} now: the pod network's is ${wanted}, after ${current}. Pods that run keep theirs: make them anew where they should have it`,
          { interface: found.name, mtu: wanted, mtu_before: current },
        );
      }
      current = wanted;
      return current;
    },
  };
}
