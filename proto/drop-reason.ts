// The closed list of reasons for which the data plane refuses a packet. Each has a counter per peer (dataplane-stats.ts), a value of
// the `reason` label of weft_dropped_packets_total, and a line in docs/operations.md; a test holds the three together.

export const DROP_REASONS = [
  // Egress: from the TUN.
  'egress_truncated', // shorter than its headers say
  'egress_not_ipv4',
  'egress_source_not_local', // inner source is in no block of this node
  'egress_out_of_range', // inner destination is outside the range
  'egress_no_owner', // no node holds the destination's block; answered with ICMP host-unreachable
  'egress_local', // destination is in a block of this node: the node's routes are wrong
  'egress_too_big', // larger than a datagram can carry, or than the path (EMSGSIZE)
  'egress_unsupported_offload', // a virtio_net_hdr that the device was not asked for
  'egress_send_failed', // sendmsg failed; errno in the debug log
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
