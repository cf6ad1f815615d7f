// What each reason for refusing a packet means and what a person does about it: for log lines, and for the table of docs/operations/drops.md,
// which is compared with it. Pure.
import type { RefusalReason } from '../../proto/drop-reason.ts';

export interface RefusalWords {
  /** Completes "refused by …": what it is. */
  readonly meaning: string;
  readonly remedy: string;
  /** False where working pods and networks meet it all the time, so that only the counter tells. */
  readonly isNews: boolean;
}

export const REFUSAL_WORDS: { readonly [Reason in RefusalReason]: RefusalWords } = {
  egress_truncated: {
    meaning: 'the kernel handed over a packet shorter than its headers say',
    remedy: 'report it: a kernel or agent bug',
    isNews: true,
  },
  egress_not_ipv4: {
    meaning: 'a packet that is not IPv4 was routed into weft0',
    remedy: 'remove the route that sends it there',
    isNews: true,
  },
  egress_source_not_local: {
    meaning: "a source address that is not of this node's blocks",
    remedy: 'find who routes foreign traffic through this node (`ip route get`)',
    isNews: true,
  },
  egress_out_of_range: {
    meaning: 'a destination outside the range was routed into weft0',
    remedy: 'remove the route that sends it there',
    isNews: true,
  },
  egress_no_owner: {
    meaning: "no node holds the destination's block; the sender got ICMP host-unreachable",
    remedy:
      'nothing while the pod is gone or its node was deleted; look at `weft status` where `kubectl get addressblocks` shows an owner',
    isNews: false,
  },
  egress_local: {
    meaning: 'a packet for a pod of this node reached the tunnel: a route is missing',
    remedy: 'the agent restores it within seconds; if it stays, look for `network_failed` in the log',
    isNews: true,
  },
  egress_too_big: {
    meaning: 'larger than a UDP datagram can carry, or the kernel refused the size',
    remedy: "lower `WEAVE_MTU` or raise the underlay's MTU",
    isNews: true,
  },
  egress_path_mtu: {
    meaning:
      'larger than the path to the peer takes, with DF; the sender got ICMP fragmentation-needed, and TCP goes on with less',
    remedy: 'nothing while the count is small; if it grows, a program ignores the ICMP: see MTU',
    isNews: false,
  },
  egress_unsupported_offload: {
    meaning: 'the kernel used an offload that was not asked for',
    remedy: 'report it',
    isNews: true,
  },
  egress_send_failed: {
    meaning: 'the kernel refused to send',
    remedy: 'look for the underlay interface being down, or a full queue',
    isNews: true,
  },
  unknown_sender: {
    meaning: "a datagram to the tunnel port from an address that is no peer's",
    remedy:
      'look who sends (`tcpdump -ni any udp port 6784`): a node without its Peer object has no agent that runs, anybody else is to be kept out by a firewall',
    isNews: true,
  },
  truncated: {
    meaning: 'a datagram shorter than its headers say',
    remedy: 'look who sends and what is between: damage on the way, or somebody probing',
    isNews: true,
  },
  vxlan_flags: {
    meaning: 'flags that VXLAN does not allow',
    remedy: 'look who sends another protocol to this port, or give Weft another one (`WEFT_PORT`)',
    isNews: true,
  },
  vxlan_vni: { meaning: "another network's VNI", remedy: 'give all nodes one `WEFT_VNI`', isNews: true },
  inner_mac: {
    meaning: 'the inner MAC addresses are not those of sender and receiver',
    remedy:
      'compare `kubectl get peers -o wide` with the sender: its Peer object is stale (restart its agent), or a kernel peer is programmed wrongly',
    isNews: true,
  },
  inner_ethertype: {
    meaning: 'neither IPv4 nor a probe',
    remedy: 'nothing: a kernel peer sends IPv6 or ARP through the tunnel',
    isNews: false,
  },
  inner_header: {
    meaning: 'a damaged inner IPv4 header',
    remedy: 'look at the links between the two nodes: damage on the way',
    isNews: true,
  },
  inner_source_not_owned: {
    meaning: "the sender claims an address of another node's block",
    remedy:
      'nothing for a moment after blocks changed hands; else the sender forges: look at the pods of that node, and compare `kubectl get addressblocks` on both sides',
    isNews: true,
  },
  inner_destination_not_local: {
    meaning: 'the destination is not in a block of this node',
    remedy:
      'nothing for a moment after blocks changed hands; if it stays, compare `kubectl get addressblocks` with `/status/ipam`',
    isNews: true,
  },
  inner_transport: {
    meaning: 'TCP or UDP headers longer than the packet',
    remedy: 'look at the links between the two nodes: damage on the way',
    isNews: true,
  },
  tun_write_failed: {
    meaning: 'the kernel refused the packet at weft0',
    remedy:
      'nothing: weft0 is down, and the agent sets it up again within seconds; if it stays, look for `network_failed` in the log',
    isNews: true,
  },
  pod_to_tunnel: {
    meaning: 'a pod sent to the tunnel port of a node, where masquerade would make it a valid peer',
    remedy: 'find the pod, which probes: `tcpdump -ni weave udp port 6784`',
    isNews: true,
  },
  process_to_tunnel: {
    meaning: 'a process of this node that is not root sent to the tunnel port of a node',
    remedy: "find the program: it probes, or uses Weft's port by accident: stop it, or set `WEFT_PORT`",
    isNews: true,
  },
  pod_spoofed: {
    meaning: 'a pod sent with a MAC or IPv4 address that is not its own, in a VLAN, or neither IPv4 nor ARP',
    remedy:
      'find the pod, which forges, routes for others or made addresses of its own: `tcpdump -eni` on its `vethwe…`',
    isNews: true,
  },
  pod_ipv6: {
    meaning: 'a pod sent IPv6, which the pod network does not carry',
    remedy: 'nothing, unless an application wants IPv6',
    isNews: false,
  },
};
