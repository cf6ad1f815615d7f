// Holds the allocations against the kernel, because nobody else does: containerd sends no GC and skips DEL after a time-out, and control
// may die in the middle of an ADD. An allocation without its veth is freed, a veth of ours without an allocation is removed; both only
// when they were seen twice, one look apart, and still are so in their container's turn. (At start veths of unknown pods are taken over
// instead, restore.ts: a log that went back in time must not cost a running pod its network.)
import { formatIpv4 } from '../../../proto/address.ts';
import type { CniAttachment } from '../../../proto/cni.ts';
import type { AddressPool, Allocation, KernelAttachment } from '../../ipam/address-pool.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { PodLinks } from '../node/pod-links.ts';
import { type Repair, textsOf } from '../repair.ts';
import { kernelAttachments } from './kernel-attachments.ts';

export interface LeakWatchOptions {
  readonly pool: Pick<AddressPool, 'list' | 'find' | 'release'>;
  readonly links: Pick<PodLinks, 'list' | 'has' | 'detach'>;
  /** Runs it when no other operation of the container is under way. */
  readonly inTurn: <T>(containerId: string, work: () => Promise<T>) => Promise<T>;
  readonly log: Pick<Logger, 'warn'>;
  readonly repaired: (repairs: readonly Repair[]) => void;
}

export interface LeakWatch {
  /** To be called every few seconds, one at a time. Rejects with the OperationError of the kernel. */
  look(): Promise<void>;
}

export function createLeakWatch({ pool, links, inTurn, log, repaired }: LeakWatchOptions): LeakWatch {
  let suspects: ReadonlySet<string> = new Set();

  const isLeaked = (allocation: Allocation, veths: ReturnType<PodLinks['list']>): boolean =>
    pool.find(allocation)?.sequence === allocation.sequence &&
    veths.every(({ hostInterface }) => hostInterface !== allocation.hostInterface) &&
    !links.has(allocation.hostInterface); // somebody may have taken its alias away

  const isUnknown = ({ hostInterface }: KernelAttachment): boolean =>
    pool.list().every((allocation) => allocation.hostInterface !== hostInterface);

  const free = async (allocation: Allocation): Promise<Repair | undefined> =>
    inTurn(allocation.containerId, async () => {
      if (!isLeaked(allocation, links.list())) return undefined;
      links.detach(allocation.hostInterface);
      await pool.release(allocation);
      return { object: 'leaked_address', text: `freed leaked address ${formatIpv4(allocation.address)}` };
    });

  const remove = async (veth: KernelAttachment): Promise<Repair | undefined> =>
    inTurn(veth.containerId, async () => {
      if (!isUnknown(veth) || !links.detach(veth.hostInterface)) return undefined;
      return { object: 'leaked_interface', text: `removed leaked interface "${veth.hostInterface}"` };
    });

  return {
    async look() {
      const veths = links.list();
      const leaks = [
        ...pool
          .list()
          .filter((allocation) => isLeaked(allocation, veths))
          .map((allocation) => ({
            key: `${keyOf(allocation)} ${allocation.sequence}`,
            mend: () => free(allocation),
          })),
        ...kernelAttachments(links)
          .filter(isUnknown)
          .map((veth) => ({ key: `${keyOf(veth)} ${veth.hostInterface}`, mend: () => remove(veth) })),
      ];
      const confirmed = leaks.filter(({ key }) => suspects.has(key));
      suspects = new Set(leaks.map(({ key }) => key));
      const mended = await Promise.all(confirmed.map(({ mend }) => mend()));
      const repairs = mended.filter((repair) => repair !== undefined);
      if (repairs.length === 0) return;
      log.warn(
        'allocation_leaked',
        `Cleaned up after pods that ended without DEL: ${textsOf(repairs).join('; ')}. Nothing is to be done; if it goes on, look why the container runtime does not call DEL`,
        { count: repairs.length },
      );
      repaired(repairs);
    },
  };
}

const keyOf = ({ containerId, interfaceName }: CniAttachment): string => `${containerId} ${interfaceName}`;
