// A furnished node for the kernel contract tests: what the agent wants on it, and pods attached to it.
import { formatIpv4, type Ipv4 } from '../../proto/address.ts';
import { parseCidr, parseIpv4 } from '../../proto/address-text.ts';
import type { NodeNetworkDesired } from '../../agent/control/node/node-network.ts';
import type { PodLinkRequest, PodLinks } from '../../agent/control/node/pod-links.ts';
import { makePodNamespace, type PodNamespace } from './network-namespaces.ts';

export const GATEWAY: Ipv4 = parseIpv4('10.32.0.1');

export const DESIRED: NodeNetworkDesired = {
  range: parseCidr('10.32.0.0/12'),
  gateway: GATEWAY,
  blocks: [parseCidr('10.32.0.0/26')],
  mtu: 1400,
  tunnelPort: 6784,
  nodeIp: parseIpv4('172.31.0.11'),
  peerAddresses: [parseIpv4('172.31.0.12')],
  masquerade: true,
};

export function requestForDescriptors(
  descriptors: Pick<PodLinkRequest, 'netlinkFd' | 'netnsFd'>,
  address: string,
): PodLinkRequest {
  const value = parseIpv4(address);
  const containerId = `c0ffee${value.toString(16)}`;
  return {
    netlinkFd: descriptors.netlinkFd,
    netnsFd: descriptors.netnsFd,
    hostInterface: `vethwe${value.toString(16).padStart(9, '0')}`,
    podInterface: 'eth0',
    address: value,
    gateway: GATEWAY,
    mtu: DESIRED.mtu,
    alias: `weft:${containerId}:eth0:${formatIpv4(value)}`,
  };
}

export const requestFor = (pod: PodNamespace, address: string): PodLinkRequest =>
  requestForDescriptors(pod, address);

export interface AttachedPod extends PodNamespace {
  readonly request: PodLinkRequest;
}

export function attachPod(links: PodLinks, address: string): AttachedPod {
  const pod = makePodNamespace();
  const request = requestFor(pod, address);
  links.attach(request);
  return { ...pod, request };
}
