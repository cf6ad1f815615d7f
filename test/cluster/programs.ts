// What a real cluster is made of: programs compiled from the Go modules in go/, whose go.mod files pin every version. A program belongs
// to the module that names it as a tool (CoreDNS: to the one whose main.go it is, since its dependencies clash with the others').
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import process from 'node:process';

export const GO_DIRECTORY: string = join(import.meta.dirname, 'go');

export interface Program {
  readonly name: string;
  /** Folder of its module in go/. */
  readonly module: string;
  readonly package: string;
  readonly tags?: string;
  /** Only what has C in it: the others are static. */
  readonly cgo?: boolean;
  readonly linkerFlags?: string;
}

/** Version of a module as go.mod pins it, such as v1.36.3. */
export function pinnedVersion(module: string, path: string): string {
  const text = readFileSync(join(GO_DIRECTORY, module, 'go.mod'), 'utf8');
  const version = text
    .split('\n')
    .map((line) =>
      line
        .trim()
        .replace(/^require /, '')
        .split(' '),
    )
    .find(([name]) => name === path)?.[1];
  if (version === undefined) throw new Error(`Cannot find "${path}" in test/cluster/go/${module}/go.mod`);
  return version;
}

/** Kubernetes' programs learn their version from the linker. */
function kubernetesVersion(): string {
  const version = pinnedVersion('kubernetes', 'k8s.io/kubernetes');
  const [major = '', minor = ''] = version.slice(1).split('.');
  const values = { gitVersion: version, gitMajor: major, gitMinor: minor };
  return Object.entries(values)
    .map(([name, value]) => `-X k8s.io/component-base/version.${name}=${value}`)
    .join(' ');
}

const kubernetes = (name: string): Program => ({
  name,
  module: 'kubernetes',
  package: `k8s.io/kubernetes/cmd/${name}`,
  linkerFlags: kubernetesVersion(),
});

const containerd = (name: string): Program => ({
  name,
  module: 'runtime',
  package: `github.com/containerd/containerd/v2/cmd/${name}`,
  tags: 'no_btrfs no_devmapper no_zfs',
});

const plugin = (name: string, kind: 'main' | 'meta'): Program => ({
  name,
  module: 'runtime',
  package: `github.com/containernetworking/plugins/plugins/${kind}/${name}`,
});

/** CNI plugins of others that a node has beside Weft's. */
export const CNI_PLUGINS: readonly Program[] = [
  plugin('loopback', 'main'),
  plugin('portmap', 'meta'),
  plugin('bandwidth', 'meta'),
];

export const PROGRAMS: readonly Program[] = [
  kubernetes('kubectl'),
  kubernetes('kubelet'),
  kubernetes('kube-proxy'),
  kubernetes('kube-scheduler'),
  kubernetes('kube-controller-manager'),
  kubernetes('kube-apiserver'),
  containerd('containerd'),
  containerd('containerd-shim-runc-v2'),
  containerd('ctr'),
  { name: 'runc', module: 'runtime', package: 'github.com/opencontainers/runc', tags: 'seccomp', cgo: true },
  { name: 'etcd', module: 'runtime', package: 'go.etcd.io/etcd/server/v3' },
  ...CNI_PLUGINS,
  { name: 'coredns', module: 'coredns', package: '.' },
];

/** Compiled only for the tests that name them. */
export const OPTIONAL_PROGRAMS: readonly Program[] = [
  { name: 'kubeconform', module: 'kubeconform', package: 'github.com/yannh/kubeconform/cmd/kubeconform' },
  { name: 'cnitool', module: 'libcni', package: 'github.com/containernetworking/cni/cnitool' },
  { name: 'libcni', module: 'libcni', package: '.' },
  { name: 'cri', module: 'cri', package: '.' },
  // What bench/attach.ts compares with.
  {
    name: 'bridge',
    module: 'plugins',
    package: 'github.com/containernetworking/plugins/plugins/main/bridge',
  },
  {
    name: 'host-local',
    module: 'plugins',
    package: 'github.com/containernetworking/plugins/plugins/ipam/host-local',
  },
  // What bench/data-path/ compares with.
  { name: 'wireguard', module: 'wireguard', package: 'golang.zx2c4.com/wireguard' },
];

/** Changes when a pin, a source or the way of building does; the name of the folder that keeps the programs. */
export function programsHash(programs: readonly Program[] = PROGRAMS): string {
  const hash = createHash('sha256').update(`${process.arch} ${JSON.stringify(programs)}`);
  const modules = new Set(programs.map(({ module }) => module));
  const names = readdirSync(GO_DIRECTORY, { recursive: true, encoding: 'utf8' });
  for (const name of names.filter((each) => /\.(?:mod|sum|go)$/.test(each)).sort()) {
    if (!modules.has(dirname(name))) continue;
    hash.update(`\n${name}\n`).update(readFileSync(join(GO_DIRECTORY, name)));
  }
  return hash.digest('hex').slice(0, 16);
}

/** Command line flags: --name=value. */
export const flags = (values: Readonly<Record<string, string>>): readonly string[] =>
  Object.entries(values).map(([name, value]) => `--${name}=${value}`);
