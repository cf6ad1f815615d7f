// Whose an address is, and since when, by what a node's control knows: its own addresses to the pod, those of other nodes to the block. Pure.
import {
  type Cidr,
  type Ipv4,
  blockCidr,
  blockOf,
  cidrContains,
  cidrSize,
  formatCidr,
  formatIpv4,
} from '../../proto/address.ts';
import { parseCidr } from '../../proto/address-text.ts';
import type { IpamFacts, IpamReport, NodeReport } from '../../proto/node-report.ts';
import { agoOr, formatAge, labelled } from './text.ts';

export type Allocation = IpamFacts['allocations'][number];
type Block = IpamReport['blocks'][number];

/** What is known of one address. */
export type AddressFacts = { readonly address: string } & (
  | { readonly state: 'used'; readonly allocation: Allocation; readonly block: Block }
  /** Of a block of this node. Without `freed` no pod had it since the node's log began. */
  | { readonly state: 'free'; readonly freed: IpamReport['freed'][number] | undefined; readonly block: Block }
  | { readonly state: 'bridge'; readonly block: Block }
  | { readonly state: 'other_node'; readonly block: Block }
  | { readonly state: 'quarantined'; readonly block: IpamReport['quarantined'][number] }
  | { readonly state: 'unclaimed'; readonly block: { readonly cidr: string } }
  /** The first and the last address of the range. */
  | { readonly state: 'reserved' }
  | { readonly state: 'node'; readonly node: string }
  | { readonly state: 'service'; readonly range: string }
  | { readonly state: 'outside' }
);

interface Known {
  readonly report: NodeReport;
  readonly ipam: IpamReport;
}

export function addressFacts(address: Ipv4, { report, ipam }: Known): AddressFacts {
  const text = formatIpv4(address);
  const { node, network, peers } = report;
  const range = parseCidr(network.range);
  const nodeOf = [{ name: node.name, address: node.address }, ...peers].find((each) => each.address === text);
  if (nodeOf !== undefined) return { address: text, state: 'node', node: nodeOf.name };
  const index = blockOf(range, network.blockPrefixLength, address);
  if (index === undefined) {
    const services = ipam.serviceRanges.find((each) => isWithin(each, address));
    if (services !== undefined) return { address: text, state: 'service', range: services };
    return { address: text, state: 'outside' };
  }
  const allocation = report.ipam.allocations.find((each) => each.address === text);
  const cidr = formatCidr(blockCidr(range, network.blockPrefixLength, index));
  const block = ipam.blocks.find((each) => each.cidr === cidr);
  if (allocation !== undefined) {
    const own = block ?? { cidr, node: node.name, sinceSeconds: undefined, abandonedSeconds: undefined };
    return { address: text, state: 'used', allocation, block: own };
  }
  if (isEnd(range, address)) return { address: text, state: 'reserved' };
  if (block === undefined) {
    const freed = ipam.quarantined.find((each) => each.cidr === cidr);
    if (freed !== undefined) return { address: text, state: 'quarantined', block: freed };
    return { address: text, state: 'unclaimed', block: { cidr } };
  }
  if (block.node !== node.name) return { address: text, state: 'other_node', block };
  if (address === parseCidr(cidr).base + 1) return { address: text, state: 'bridge', block };
  const freed = ipam.freed.find((each) => each.address === text);
  return { address: text, state: 'free', freed, block };
}

/** Attachments of this node by pod (namespace/name or name), or by the first letters of the container's id. */
export const allocationsOf = (query: string, { ipam }: NodeReport): readonly Allocation[] =>
  ipam.allocations.filter(
    ({ podName, containerId }) =>
      podName === query ||
      podName?.split('/')[1] === query ||
      (query.length > 5 && containerId.startsWith(query)),
  );

const isEnd = (range: Cidr, address: Ipv4): boolean =>
  address === range.base || address === range.base + cidrSize(range) - 1;

function isWithin(cidr: string, address: Ipv4): boolean {
  try {
    return cidrContains(parseCidr(cidr), address);
  } catch {
    return false; // IPv6
  }
}

/** What runs a command in the agent's container of that node. */
export const askAt = (node: string, command: string): string =>
  `kubectl -n weft exec "$(kubectl -n weft get pods -l app.kubernetes.io/name=weft --field-selector spec.nodeName=${node} -o name)" -- weft ${command}`;

export function addressPage(
  facts: AddressFacts,
  { node, network }: Pick<NodeReport, 'node' | 'network'>,
): string {
  const rows = (
    state: string,
    ...more: readonly (readonly [string, string])[]
  ): readonly (readonly [string, string])[] => [['Address', facts.address], ['State', state], ...more];
  const held = (block: Block): readonly [string, string] => [
    'Block',
    `${block.cidr}, held by ${block.node === node.name ? `this node, ${block.node},` : block.node}${block.sinceSeconds === undefined ? '' : ` for ${formatAge(block.sinceSeconds)}`}`.replace(
      /,$/,
      '',
    ) +
      (block.abandonedSeconds === undefined
        ? ''
        : `; its node has had no agent for ${formatAge(block.abandonedSeconds)}`),
  ];
  switch (facts.state) {
    case 'used': {
      const { podName, containerId, interfaceName, hostInterface, sinceSeconds } = facts.allocation;
      return labelled(
        rows(
          sinceSeconds === undefined
            ? 'used, since when is not known'
            : `used for ${formatAge(sinceSeconds)}`,
          ['Pod', podName ?? 'the runtime did not say'],
          ['Container', containerId],
          ['Interface', `${interfaceName} in the pod, ${hostInterface} on the node`],
          held(facts.block),
        ),
      );
    }
    case 'free':
      return labelled(
        rows(
          facts.freed === undefined
            ? 'free, no pod of this node had it yet'
            : `free; a pod had it until ${agoOr(facts.freed.sinceSeconds, 'some time ago')}`,
          held(facts.block),
        ),
      );
    case 'bridge':
      return labelled(
        rows(
          facts.address === network.gateway
            ? "this node's bridge, the gateway of its pods"
            : 'kept for the bridge, as the second address of each block',
          held(facts.block),
        ),
      );
    case 'other_node':
      return labelled(
        rows(`of another node, which knows the pod`, held(facts.block), [
          'Ask there',
          askAt(facts.block.node, `ipam ${facts.address}`),
        ]),
      );
    case 'quarantined':
      return labelled(
        rows('free, its block was given back', [
          'Block',
          `${facts.block.cidr}, freed ${formatAge(facts.block.freedSeconds)} ago${facts.block.claimableInSeconds > 0 ? `; nodes claim it again in ${formatAge(facts.block.claimableInSeconds)} at the earliest` : '; any node may claim it'}`,
        ]),
      );
    case 'unclaimed':
      return labelled(rows('free, no node holds its block', ['Block', facts.block.cidr]));
    case 'reserved':
      return labelled(rows(`never given to a pod: the first or the last address of ${network.range}`));
    case 'node':
      return labelled(
        rows(
          `underlay address of ${facts.node === node.name ? `this node, ${facts.node}` : `node ${facts.node}`}; no pod has it`,
        ),
      );
    case 'service':
      return labelled(
        rows(`of a Service, by the cluster's range ${facts.range}; no pod has it`, [
          'Ask',
          `kubectl get services -A -o wide | grep -w ${facts.address}`,
        ]),
      );
    case 'outside':
      return labelled(
        rows(`not Weft's: outside of the pods' range ${network.range}, and no node's underlay address`),
      );
    default:
      return facts satisfies never;
  }
}
