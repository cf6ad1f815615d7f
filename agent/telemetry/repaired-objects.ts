// What of the node can be found missing or changed and is put right: the closed list behind the label `object` of weft_repairs_total.

export const REPAIRED_OBJECTS = [
  'bridge',
  'interface', // the TUN or the underlay's
  'address',
  'route',
  'nftables', // tables, chains, sets and rules
  'pod_port', // a pod's port of the bridge
  'pod_name', // the name or the alias of one
  'pod_element', // of the anti-spoof set
  'leaked_address', // of a pod that ended without DEL
  'leaked_interface',
] as const;

export type RepairedObject = (typeof REPAIRED_OBJECTS)[number];
