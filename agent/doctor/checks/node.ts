// The node itself: its folders, its clock, its CNI configuration, tables of the kernel that fill up, and what other networks left.
import { BRIDGE } from '../../control/node/range-conflicts.ts';
import { CNI_CONFIGURATION_FILE } from '../../control/cni/cni-configuration.ts';
import type { Check, Found } from '../check.ts';
import { seconds } from '../expected.ts';
import type { CniFacts, FolderFacts } from '../scene.ts';

const LEAST_FREE_BYTES = 16 << 20;
const LEAST_FREE_INODES = 64;

function folderFindings({ path, refusal, freeBytes, freeInodes }: FolderFacts): readonly Found[] {
  if (refusal !== undefined) {
    const words =
      refusal === 'EROFS' ? 'its file system is read-only' : refusal === 'ENOENT' ? 'it is missing' : refusal;
    return [
      {
        severity: 'error',
        what: `"${path}" cannot be written: ${words}`,
        fix:
          refusal === 'EROFS'
            ? 'look at dmesg for errors of the disk; mount -o remount,rw'
            : 'make it writable for root; the agent goes on by itself',
      },
    ];
  }
  const isFull = freeBytes !== undefined && freeBytes < LEAST_FREE_BYTES;
  const lacksInodes = freeInodes !== undefined && freeInodes < LEAST_FREE_INODES;
  if (!isFull && !lacksInodes) return [];
  const room = isFull ? `${Math.round((freeBytes ?? 0) / 1024)} KiB` : `${freeInodes} inodes`;
  return [
    {
      severity: (freeBytes ?? 1) === 0 || freeInodes === 0 ? 'error' : 'warning',
      what: `The disk of "${path}" has ${room} left`,
      fix: 'free space on the node: crictl rmi --prune, journalctl --vacuum-size=100M; the agent goes on by itself',
    },
  ];
}

export const folders: Check = {
  id: 'state_directory',
  finds: 'a state or run directory that is full, read-only or missing',
  why: 'every address that is given out is recorded there first: without it no pod is attached',
  fix: 'free space, or make it writable; the agent goes on by itself',
  run: ({ files }) => [...folderFindings(files.state), ...folderFindings(files.run)],
};

const OLD_SNAPSHOT_SECONDS = 86_400;

export const snapshot: Check = {
  id: 'snapshot',
  finds: 'a damaged, foreign or very old copy of the last-known cluster state',
  why: 'an agent that starts while the API is away has only this to go by',
  fix: 'with the API in reach it is written again within seconds of a change; if not, see state_directory',
  run({ files, agent }) {
    if (files.snapshotRefusal !== undefined) {
      return [
        {
          severity: 'warning',
          what: `snapshot.json of "${files.state.path}" cannot be used (${files.snapshotRefusal})`,
        },
      ];
    }
    const age = files.snapshotAgeSeconds;
    // It is written when something changes: old is a matter of concern only while the API is away.
    if (age === undefined || age < OLD_SNAPSHOT_SECONDS || agent.report?.api.isConnected === true) return [];
    return [
      { severity: 'warning', what: `The last-known cluster state is ${Math.round(age / 3600)} hours old` },
    ];
  },
};

const CLOCK_WARNING_SECONDS = 10;
const CLOCK_ERROR_SECONDS = 120;

export const clock: Check = {
  id: 'clock',
  finds: "a clock that was set back or forth: it differs from the API server's, or files are of the future",
  why: 'certificates and tokens are refused that are not valid yet or any more, and logs of nodes cannot be compared',
  fix: 'chronyc tracking or timedatectl on the node: set the clock by the network',
  run({ api, files, nowMs }) {
    const found: Found[] = [];
    const ahead = api?.node?.clockAheadSeconds ?? api?.peer?.clockAheadSeconds;
    if (ahead !== undefined && Math.abs(ahead) > CLOCK_WARNING_SECONDS) {
      found.push({
        severity: Math.abs(ahead) > CLOCK_ERROR_SECONDS ? 'error' : 'warning',
        what: `The node's clock is ${seconds(Math.abs(ahead))} ${ahead > 0 ? 'behind' : 'ahead of'} the API server's`,
      });
    }
    const [first] = files.fromTheFuture.toSorted((a, b) => b.aheadSeconds - a.aheadSeconds);
    if (first !== undefined) {
      found.push({
        severity: 'warning',
        what: `"${first.name}" of the state directory was changed ${seconds(first.aheadSeconds)} from now: the node's clock was set back`,
      });
    }
    if (files.tokenExpiresMs !== undefined && files.tokenExpiresMs < nowMs) {
      found.push({
        severity: 'error',
        what: `The service account's token has expired ${seconds((nowMs - files.tokenExpiresMs) / 1000)} ago by this node's clock`,
        fix: "the kubelet renews it: look at the kubelet's log, and at the clock; kubectl -n weft delete pod POD",
      });
    }
    return found;
  },
};

/** Where the manifests mount the runtime's folder, and where that is on most nodes. */
const MOUNTED = '/host/etc/cni/net.d';
const USUAL = '/etc/cni/net.d';

/** To be typed on the node: in the agent's container there is no shell. */
function removalOf({ directory }: CniFacts, names: readonly string[]): string {
  const folder = directory === MOUNTED ? USUAL : directory;
  const unless = directory === MOUNTED ? ' (or where volume cni-conf of DaemonSet/weft says)' : '';
  return `rm ${names.map((name) => `${folder}/${name}`).join(' ')} on the node${unless}`;
}

export const cni: Check = {
  id: 'cni',
  finds: "another network's CNI configuration that comes first, and a missing plugin or configuration",
  why: 'the runtime attaches pods by another network, or not at all',
  fix: "remove what is not wanted from the node's CNI configuration folder; kubectl -n weft delete pod POD installs the plugin again",
  run({ files: { cni: facts }, agent }) {
    if (facts === undefined) return [];
    const found: Found[] = [];
    const preferred = facts.configurations.filter((name) => name < CNI_CONFIGURATION_FILE);
    if (preferred.length > 0) {
      found.push({
        severity: 'error',
        what: `The runtime uses "${preferred[0]}" of "${facts.directory}", which comes before "${CNI_CONFIGURATION_FILE}"`,
        fix: `${removalOf(facts, preferred)}, when that network is no longer wanted; then restart its pods`,
      });
    }
    if (facts.refusal !== undefined) {
      found.push({ severity: 'error', what: `"${facts.directory}" cannot be written (${facts.refusal})` });
    } else if (
      agent.report?.notReady.length === 0 &&
      !facts.configurations.includes(CNI_CONFIGURATION_FILE)
    ) {
      found.push({
        severity: 'error',
        what: `"${CNI_CONFIGURATION_FILE}" is missing in "${facts.directory}"`,
        fix: 'the agent writes it again at its next sweep, within 10 seconds',
      });
    }
    if (facts.pluginRefusal !== undefined) {
      const words =
        facts.pluginRefusal === 'EACCES' ? 'is not executable' : `is missing (${facts.pluginRefusal})`;
      found.push({
        severity: 'error',
        what: `The CNI plugin "${facts.pluginDirectory}/weft" ${words}`,
        fix: 'kubectl -n weft delete pod POD: its init container installs it',
      });
    }
    return found;
  },
};

const FULL = 0.9;

export const tables: Check = {
  id: 'kernel_tables',
  finds: 'a connection tracking or neighbour table of the kernel that is full, and low limits of namespaces',
  why: 'the kernel drops new connections, or finds no neighbour, while everything else looks well',
  fix: 'raise net.netfilter.nf_conntrack_max, net.ipv4.neigh.default.gc_thresh1..3, user.max_net_namespaces (in /etc/sysctl.d, so that it lasts)',
  run({ sysctls, counters, agent }) {
    const found: Found[] = [];
    const connections = sysctls['net/netfilter/nf_conntrack_count'];
    const mostConnections = sysctls['net/netfilter/nf_conntrack_max'];
    if (
      connections !== undefined &&
      mostConnections !== undefined &&
      mostConnections > 0 &&
      connections > mostConnections * FULL
    ) {
      found.push({
        severity: connections >= mostConnections ? 'error' : 'warning',
        what: `${connections} of ${mostConnections} connections are tracked (net.netfilter.nf_conntrack_max)`,
        fix: `sysctl -w net.netfilter.nf_conntrack_max=${mostConnections * 2}; conntrack -L tells who makes so many`,
      });
    }
    const most = sysctls['net/ipv4/neigh/default/gc_thresh3'];
    const { neighbours, neighbourTableFulls } = counters;
    if (
      neighbourTableFulls > 0 ||
      (most !== undefined && neighbours !== undefined && neighbours > most * FULL)
    ) {
      found.push({
        severity: neighbourTableFulls > 0 ? 'error' : 'warning',
        what: `The neighbour table has ${neighbours ?? 'too many'} entries, the limit is ${most ?? 'not known'} (net.ipv4.neigh.default.gc_thresh3)`,
        fix: `sysctl -w net.ipv4.neigh.default.gc_thresh3=${(most ?? 1024) * 4} net.ipv4.neigh.default.gc_thresh2=${(most ?? 1024) * 2}`,
      });
    }
    const namespaces = sysctls['user/max_net_namespaces'];
    const pods = agent.report?.ipam.used ?? 0;
    if (namespaces !== undefined && namespaces < pods + 16) {
      found.push({
        severity: 'warning',
        what: `The kernel makes at most ${namespaces} network namespaces (user.max_net_namespaces), ${pods} pods run here`,
      });
    }
    return found;
  },
};

/** Interfaces of networks that were here before. */
const STRANGERS: readonly (readonly [RegExp, string])[] = [
  [/^(cni0|flannel\.\d+)$/, 'flannel'],
  [/^(datapath|vxlan-6784|vethwe-bridge|vethwe-datapath)$/, 'Weave Net'],
  [/^(cali[0-9a-f]+|vxlan\.calico)$/, 'Calico'],
  [/^(cilium_host|cilium_net|cilium_vxlan)$/, 'Cilium'],
];

/** Of pods' networks; podman, nerdctl, CRI-O and Multus have files of their own there that harm nobody. */
const OTHER_NETWORKS = /antrea|aws|azure|calico|canal|cilium|flannel|kindnet|kube-?router|ovn|romana|weave/i;

export const leftovers: Check = {
  id: 'leftovers',
  finds: 'interfaces, chains and addresses that another pod network left',
  why: 'they take the port, the range or the pods of this network when something wakes them up',
  fix: 'remove that network by its own uninstaller, then: ip link delete INTERFACE; restart the node if chains remain',
  run({ kernel, ruleset, files }) {
    const found: Found[] = [];
    for (const [pattern, network] of STRANGERS) {
      // Another network that is in force beside ours says so by its configuration.
      const names = kernel.links.filter(({ name }) => pattern.test(name)).map(({ name }) => name);
      if (names.length === 0) continue;
      found.push({
        severity: 'warning',
        what: `Interfaces of ${network} are on the node: ${names.slice(0, 4).join(', ')}`,
        fix: `remove ${network} from the node; then: ${names
          .slice(0, 4)
          .map((name) => `ip link delete ${name}`)
          .join('; ')}`,
      });
    }
    const chains = [
      ...new Set(ruleset?.chains.filter(({ name }) => /^WEAVE(-|$)/.test(name)).map(({ name }) => name)),
    ];
    if (chains.length > 0) {
      found.push({
        severity: 'warning',
        what: `Chains of Weave Net are in the node's packet filter: ${chains.slice(0, 4).join(', ')}`,
        fix: 'iptables -F and -X of these chains, or restart the node',
      });
    }
    const bridge = kernel.links.find(({ name }) => name === BRIDGE);
    const wide = kernel.addresses.filter(
      ({ index, prefixLength }) => index === bridge?.index && prefixLength < 32,
    );
    if (wide.length > 0) {
      found.push({
        severity: 'warning',
        what: `Bridge "${BRIDGE}" has an address with a prefix of ${wide[0]?.prefixLength}, which Weft does not give`,
      });
    }
    const others =
      files.cni?.configurations.filter(
        (name) => name > CNI_CONFIGURATION_FILE && OTHER_NETWORKS.test(name),
      ) ?? [];
    if (files.cni !== undefined && others.length > 0) {
      found.push({
        severity: 'warning',
        what: `Unused CNI configurations of other networks: ${others.join(', ')}`,
        why: `they come into force as soon as "${CNI_CONFIGURATION_FILE}" is away`,
        fix: removalOf(files.cni, others),
      });
    }
    return found;
  },
};

export const NODE_CHECKS: readonly Check[] = [folders, snapshot, clock, cni, tables, leftovers];
