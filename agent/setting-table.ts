// The closed table of settings. Apart from their parser, which a command that needs one of them alone would wait for.

/** Name, default (as text) and meaning of every setting; the documentation's table is compared with it. */
export const SETTING_TABLE: readonly (readonly [name: string, fallback: string, meaning: string])[] = [
  ['HOSTNAME', '', 'name of the Node object of this node (fieldRef spec.nodeName); required'],
  ['WEFT_NODE_IP', '', "the node's underlay address (fieldRef status.hostIP); empty: from the default route"],
  ['IPALLOC_RANGE', '10.32.0.0/12', 'addresses of all pods of the cluster; the same on every node'],
  [
    'WEFT_BLOCK_PREFIX',
    '26',
    'prefix length of the blocks that nodes claim out of the range; the same on every node, and for as long as there are blocks',
  ],
  ['WEFT_PORT', '6784', 'UDP port that nodes receive VXLAN on; the same on every node'],
  ['WEFT_VNI', '1', 'VXLAN network identifier; the same on every node'],
  ['WEAVE_MTU', '', "MTU inside pods; empty: the underlay interface's MTU less 50"],
  ['WEFT_MASQUERADE', '1', '"0": packets that leave the range keep the pod\'s address'],
  ['WEAVE_HTTP_ADDR', '127.0.0.1:6784', 'status pages (TCP)'],
  ['WEAVE_METRICS_ADDR', '0.0.0.0:6782', 'Prometheus metrics'],
  ['WEFT_RUN_DIR', '/run/weft', 'sockets and the forwarding table (tmpfs)'],
  ['WEFT_STATE_DIR', '/var/lib/weft', 'allocations and the last-known cluster state'],
  [
    'WEFT_DATAPLANE_WORKERS',
    '',
    'data plane processes that share the flows, 1 to 8; empty: half the processors that the agent may use, at most 2',
  ],
  ['WEFT_BLOCK_QUARANTINE_SECONDS', '600', 'how long a freed block stays unclaimed, a day at most'],
  ['WEFT_BLOCK_QUIET_SECONDS', '600', 'how long an empty block, other than the first, is kept'],
  [
    'WEFT_SELF_CHECK_SECONDS',
    '600',
    'how often the agent runs "weft doctor" by itself, for its log and metrics; "0": never',
  ],
  [
    'WEFT_CNI_CONF_DIR',
    '',
    "the runtime's folder for CNI configurations, written once pods can be attached; empty: not written",
  ],
  [
    'WEFT_CNI_BIN_DIR',
    '/opt/cni/bin',
    "the runtime's folder for CNI plugins; chained ones that are missing are left out",
  ],
  ['WEFT_CNI_TEMPLATE', '/etc/weft/10-weft.conflist', 'the CNI configuration to write'],
  ['WEFT_READY_FILE', '', "a file, the pod's own, that is there while pods can be attached; empty: none"],
  ['LOG_LEVEL', 'info', 'trace, debug, info, warn or error'],
  ['LOG_FORMAT', 'json', 'json, or pretty for people'],
];

const FALLBACKS: ReadonlyMap<string, string> = new Map(
  SETTING_TABLE.map(([name, fallback]) => [name, fallback]),
);

/** The text of a setting; an empty one is as good as none. */
export const settingOf = (environment: Readonly<Record<string, string | undefined>>, name: string): string =>
  environment[name] || (FALLBACKS.get(name) ?? '');
