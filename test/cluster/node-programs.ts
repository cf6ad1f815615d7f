// What runs on a node: containerd, kubelet and kube-proxy, with the settings that they need in a namespace of a machine that others use
// (no raised limits, no systemd, no registry to reach), and otherwise what kubeadm gives them.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import process from 'node:process';

import { runCommand, runScript, tryCommand } from '../lab/command.ts';
import { until } from '../lab/condition.ts';
import { type LabProcess, childrenOf } from '../lab/process.ts';
import type { CertificateAuthority } from './certificates.ts';
import { BOOT_ID, type ClusterNode } from './cluster-node.ts';
import { PAUSE_IMAGE } from './images.ts';
import { CNI_PLUGINS, flags } from './programs.ts';

export const DNS_ADDRESS = '10.96.0.10';
export const DNS_DOMAIN = 'cluster.local';
const POD_RANGE = '10.32.0.0/12';
const RUNTIME_ENDPOINT = 'unix:///run/containerd/containerd.sock';
const CERTS_D = '/etc/containerd/certs.d';
const BASE_SPEC = '/etc/containerd/base-spec.json';

export type ProxyMode = 'nftables' | 'iptables';

/** kube-proxy's mode as KUBE_PROXY_MODE names it; nftables when it does not. */
export const proxyMode = ({
  KUBE_PROXY_MODE: mode,
}: Readonly<Record<string, string | undefined>>): ProxyMode => {
  if (mode === undefined || mode === 'nftables') return 'nftables';
  if (mode === 'iptables') return mode;
  throw new Error(`Cannot use KUBE_PROXY_MODE="${mode}": write nftables or iptables`);
};

export interface NodeProgramOptions {
  /** Folder of the compiled programs. */
  readonly programs: string;
  /** Image archives that are imported before the kubelet starts. */
  readonly images: readonly string[];
  readonly authority: CertificateAuthority;
  readonly proxyMode: ProxyMode;
}

export interface NodePrograms {
  readonly containerd: LabProcess;
  readonly kubelet: LabProcess;
  readonly proxy: LabProcess;
}

const containerdConfig = (programs: string): string => `version = 3
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = '${PAUSE_IMAGE}'
[plugins.'io.containerd.cri.v1.images'.registry]
  config_path = '${CERTS_D}'
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  disable_apparmor = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
  base_runtime_spec = '${BASE_SPEC}'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  BinaryName = '${join(programs, 'runc')}'
  SystemdCgroup = false
`;

/** Shows a container the node's boot id, where /proc has the machine's. It runs with the container's root file system as its folder. */
const bootIdHook = {
  path: '/bin/sh',
  args: ['sh', '-ec', `mount --bind ${BOOT_ID} .${BOOT_ID}`],
  env: ['PATH=/usr/sbin:/usr/bin:/sbin:/bin'],
};

/** An image that is not there is refused at once, instead of being looked for outside. */
const NO_REGISTRY = 'server = "http://127.0.0.1:9"\n';

const kubeletConfig = (authorityFile: string): object => ({
  apiVersion: 'kubelet.config.k8s.io/v1beta1',
  kind: 'KubeletConfiguration',
  authentication: { anonymous: { enabled: false }, x509: { clientCAFile: authorityFile } },
  authorization: { mode: 'Webhook' },
  cgroupDriver: 'cgroupfs',
  cgroupsPerQOS: false,
  clusterDNS: [DNS_ADDRESS],
  clusterDomain: DNS_DOMAIN,
  containerRuntimeEndpoint: RUNTIME_ENDPOINT,
  enforceNodeAllocatable: [],
  evictionHard: {},
  failCgroupV1: false,
  failSwapOn: false,
  imageGCHighThresholdPercent: 100,
  localStorageCapacityIsolation: false,
  makeIPTablesUtilChains: false,
  oomScoreAdj: 0,
  resolvConf: '/etc/resolv.conf',
  staticPodPath: '/etc/kubernetes/manifests',
  volumePluginDir: '/var/lib/kubelet/volume-plugins',
});

const proxyConfig = (mode: ProxyMode, kubeconfig: string): object => ({
  apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
  kind: 'KubeProxyConfiguration',
  clientConnection: { kubeconfig },
  clusterCIDR: POD_RANGE,
  conntrack: { maxPerCore: 0, min: 0 },
  mode,
});

/** Writes the node's files and starts its programs. */
export async function startNodePrograms(
  node: ClusterNode,
  options: NodeProgramOptions,
): Promise<NodePrograms> {
  const { programs, authority } = options;
  await authority.issueKubeconfig({
    name: node.name,
    commonName: `system:node:${node.name}`,
    organization: 'system:nodes',
  });
  const write = (file: string, content: string | object): void => {
    mkdirSync(dirname(node.path(file)), { recursive: true });
    writeFileSync(
      node.path(file),
      typeof content === 'string' ? content : JSON.stringify(content, undefined, 2),
    );
  };
  write('/etc/containerd/config.toml', containerdConfig(programs));
  write(`${CERTS_D}/_default/hosts.toml`, NO_REGISTRY);
  const spec = JSON.parse(await runCommand(node.place, [join(programs, 'ctr'), 'oci', 'spec'])) as object; // as: an OCI specification
  write(BASE_SPEC, { ...spec, hooks: { createContainer: [bootIdHook] } });
  write('/etc/kubernetes/kubelet.json', kubeletConfig(authority.file('ca.crt')));
  write(
    '/etc/kubernetes/proxy.json',
    proxyConfig(options.proxyMode, authority.file('kube-proxy.kubeconfig')),
  );
  await runScript(node.place, [
    'mkdir -p /etc/kubernetes/manifests',
    ...CNI_PLUGINS.map(({ name }) => `install ${join(programs, name)} /opt/cni/bin/`),
  ]);
  return runNodePrograms(node, options);
}

/** Starts the programs of a node that has their files, one after the other; resolves when the kubelet has been started. */
export async function runNodePrograms(
  node: ClusterNode,
  { programs, images, authority }: Omit<NodeProgramOptions, 'proxyMode'>,
): Promise<NodePrograms> {
  const containerd = await startContainerd(node, programs);
  for (const archive of images) {
    await runCommand(node.place, [...ctrOf(programs), 'images', 'import', archive]);
  }
  const proxy = node.start('kube-proxy', [
    join(programs, 'kube-proxy'),
    ...flags({ config: '/etc/kubernetes/proxy.json', 'hostname-override': node.name }),
  ]);
  return { containerd, kubelet: startKubelet(node, { programs, authority }), proxy };
}

const ctrOf = (programs: string): readonly string[] => [join(programs, 'ctr'), '--namespace', 'k8s.io'];

/** Resolves when it answers. */
export async function startContainerd(node: ClusterNode, programs: string): Promise<LabProcess> {
  const containerd = node.start('containerd', [
    'env',
    `PATH=${programs}:/usr/sbin:/usr/bin:/sbin:/bin`,
    join(programs, 'containerd'),
    '--config=/etc/containerd/config.toml',
  ]);
  await until(async () => (await tryCommand(node.place, [...ctrOf(programs), 'version'])).status === 0, {
    what: `containerd on ${node.name}`,
    boundMs: 60_000,
    intervalMs: 100,
  });
  return containerd;
}

/** kill -9 of the program itself, not of what has entered the node for it. Resolves when it has ended. */
export async function killNodeProgram({ pid, ended }: LabProcess): Promise<void> {
  for (const child of childrenOf(pid)) process.kill(child.pid, 'SIGKILL');
  await ended;
}

export const startKubelet = (
  node: ClusterNode,
  { programs, authority }: Pick<NodeProgramOptions, 'programs' | 'authority'>,
): LabProcess =>
  node.start('kubelet', [
    join(programs, 'kubelet'),
    ...flags({
      kubeconfig: authority.file(`${node.name}.kubeconfig`),
      config: '/etc/kubernetes/kubelet.json',
      'hostname-override': node.name,
      'node-ip': node.address,
      'cert-dir': '/var/lib/kubelet/pki',
    }),
  ]);
