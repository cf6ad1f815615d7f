// What a node has, as lines: interfaces, addresses, routes, rules, neighbours, packet filters, settings, files, processes. Two snapshots
// differ in what was added or taken away between them. Left out is only what programs other than Weft change by themselves meanwhile.
import { type Place, runScript } from '../lab/command.ts';

export type NodeSnapshot = ReadonlyMap<string, readonly string[]>;

const SECTIONS: Readonly<Record<string, string>> = {
  interfaces: String.raw`ip -d -o link | sed -E 's/^[0-9]+: //; s/ (master|state) \S+//g; s/promiscuity.*//'`,
  addresses: String.raw`ip -o address | sed -E 's/^[0-9]+: //; s/(valid_lft|preferred_lft) \S+//g'`,
  routes: 'ip route show table all; ip -6 route show table all',
  rules: 'ip rule; ip -6 rule',
  neighbours: 'ip neigh show nud permanent; bridge fdb show',
  // kube-proxy's tables follow the cluster's Services.
  nftables: String.raw`for each in $(nft list tables | sed -E 's/^table //; s/ /:/'); do case $each in *:kube-proxy) ;; *) nft -s list table "\${each%%:*}" "\${each#*:}";; esac; done`,
  iptables: `for each in iptables ip6tables; do $each-save 2>/dev/null | grep -vE '^#|KUBE|^:' || :; done`,
  settings: `cd /proc/sys/net && grep -r . ipv4/conf ipv6/conf ipv4/ip_forward ipv6/conf/all/forwarding 2>/dev/null | grep -v /stable_secret || :`,
  files: [
    // The runtime's and the kubelet's own: images, containers, volumes of pods.
    'find /etc/cni /opt/cni /run /var/lib',
    ...'/run/lab /run/containerd /var/lib/containerd /var/lib/kubelet'
      .split(' ')
      .map((path, index) => String.raw`${index === 0 ? String.raw`\(` : '-o'} -path ${path}`),
    String.raw`\) -prune -o -printf '%p %y %m %l\n'`,
  ].join(' '),
  pods: 'for at in /var/lib/kubelet/pods /run/containerd/io.containerd.runtime.v2.task/k8s.io; do ls $at 2>/dev/null || :; done',
  processes: String.raw`ps -e -o args= | grep -vE '^(ps|sh|grep|sed|sort|sleep|nsenter|setpriv)( |$)|^\[' | sort`,
};

/** Takes a second or so. */
export async function takeSnapshot(place: Place): Promise<NodeSnapshot> {
  const entries = Object.entries(SECTIONS).map(async ([name, script]) => {
    const text = await runScript(place, [script]);
    return [
      name,
      text
        .split('\n')
        .map((line) => line.trim())
        .filter((line) => line !== '')
        .sort(),
    ] as const;
  });
  return new Map(await Promise.all(entries));
}

/** "section + line" for what is there now, "section - line" for what was there; empty = the same. */
export function snapshotDifferences(before: NodeSnapshot, now: NodeSnapshot): readonly string[] {
  return [...before].flatMap(([section, lines]) => {
    const left = now.get(section) ?? [];
    const added = surplus(left, lines).map((line) => `${section} + ${line}`);
    return added.concat(surplus(lines, left).map((line) => `${section} - ${line}`));
  });
}

/** What the first list has more often than the second. */
function surplus(more: readonly string[], less: readonly string[]): readonly string[] {
  const counts = new Map<string, number>();
  for (const line of less) counts.set(line, (counts.get(line) ?? 0) + 1);
  return more.filter((line) => {
    const count = counts.get(line) ?? 0;
    counts.set(line, count - 1);
    return count <= 0;
  });
}
