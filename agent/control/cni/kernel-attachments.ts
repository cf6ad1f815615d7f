// Attachments as the kernel remembers them, for an allocation log that cannot be believed: the alias of each host veth of ours.
import { type KernelAttachment } from '../../ipam/address-pool.ts';
import type { PodLinks } from '../node/pod-links.ts';
import { addressOfAlias } from '../node/pod-ports.ts';

/** Veths with an alias that is not ours are left out. */
export function kernelAttachments(links: Pick<PodLinks, 'list'>): readonly KernelAttachment[] {
  return links.list().flatMap(({ hostInterface, alias }): readonly KernelAttachment[] => {
    const [, containerId, interfaceName] = alias.split(':');
    const address = addressOfAlias(alias);
    if (containerId === undefined || interfaceName === undefined || address === undefined) return [];
    return [{ containerId, interfaceName, address, hostInterface }];
  });
}
