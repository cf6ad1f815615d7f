// The closed lists of reasons for which a packet is refused: by the data plane, which counts per peer (dataplane-stats.ts), and by the
// node's nftables rules, which count in a counter object of the reason's name. Each is a value of the `reason` label of
// weft_dropped_packets_total and has a line in docs/operations/drops.md; tests hold them together.

export const DROP_REASONS = [
  // Egress: from the TUN.
  'egress_truncated', // shorter than its headers say
  'egress_not_ipv4',
  'egress_source_not_local', // inner source is in no block of this node
  'egress_out_of_range', // inner destination is outside the range
  'egress_no_owner', // no node holds the destination's block; answered with ICMP host-unreachable
  'egress_local', // destination is in a block of this node: the node's routes are wrong
  'egress_too_big', // larger than a datagram can carry, or than the kernel sends (EMSGSIZE)
  'egress_path_mtu', // larger than the path to the peer takes, and must not be fragmented; answered with ICMP fragmentation-needed
  'egress_unsupported_offload', // a virtio_net_hdr that the device was not asked for
  'egress_send_failed', // sendmsg failed; its errno is the code of dataplane_io_failed in the log
  // Ingress: from the UDP socket, in the order of the checks.
  'unknown_sender', // outer source is no peer's address
  'truncated', // shorter than VXLAN + Ethernet + IPv4 headers, or than the inner total length
  'vxlan_flags', // I flag missing or a reserved bit set (RFC 7348 section 5; as strict as the kernel)
  'vxlan_vni', // another network's VNI
  'inner_mac', // inner destination is not our VTEP MAC, or inner source is not the sender's
  'inner_ethertype', // neither IPv4 nor a peer probe
  'inner_header', // version, header length, total length or header checksum is wrong
  'inner_source_not_owned', // inner source is in no block that the sender holds
  'inner_destination_not_local', // inner destination is in no block of this node: never relayed
  'inner_transport', // TCP or UDP header longer than the packet
  'tun_write_failed',
] as const;

export type DropReason = (typeof DROP_REASONS)[number];

export const FIREWALL_REASONS = [
  'unknown_sender', // to the tunnel's port from an address that is no peer's: the data plane's reason, found out earlier
  'pod_to_tunnel', // a pod sends to the tunnel's port of a node
  'process_to_tunnel', // an unprivileged process of the node sends to the tunnel's port of a node
  'pod_spoofed', // a pod sends with a MAC or IPv4 address that is not its own, or neither IPv4 nor ARP
  'pod_ipv6', // a pod sends IPv6
] as const;

export type FirewallReason = (typeof FIREWALL_REASONS)[number];

export type RefusalReason = DropReason | FirewallReason;
/** All of them, each once. */
export const REFUSAL_REASONS: readonly RefusalReason[] = [...new Set([...DROP_REASONS, ...FIREWALL_REASONS])];
