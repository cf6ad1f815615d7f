// Each overlay differs from the base in what it is for, and in nothing else.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { it } from 'node:test';

import { parseSettings } from '../../agent/settings.ts';
import {
  type Data,
  type Fields,
  fields,
  kustomize,
  kustomizeMissing,
  leaves,
  list,
  manifestPath,
  nameOf,
  word,
} from './manifests-documents.ts';

const skip = kustomizeMissing();

const EXPECTED: Readonly<Record<string, Readonly<Record<string, Data>>>> = {
  custom: {
    'ConfigMap/weft/weft data.IPALLOC_RANGE': '10.64.0.0/12',
    'ConfigMap/weft/weft data.WEAVE_MTU': '1376',
    'ConfigMap/weft/weft data.WEFT_PORT': '4789',
  },
  k3s: cniPaths('/var/lib/rancher/k3s/agent/etc/cni/net.d', '/var/lib/rancher/k3s/data/cni'),
  microk8s: cniPaths('/var/snap/microk8s/current/args/cni-network', '/var/snap/microk8s/current/opt/cni/bin'),
  privileged: {
    'DaemonSet/weft/weft spec.template.spec.containers.agent.securityContext.allowPrivilegeEscalation': true,
    'DaemonSet/weft/weft spec.template.spec.containers.agent.securityContext.privileged': true,
  },
};

function cniPaths(conf: string, bin: string, daemonSet = 'weft/weft'): Readonly<Record<string, Data>> {
  const volumes = `DaemonSet/${daemonSet} spec.template.spec.volumes`;
  return { [`${volumes}.cni-bin.hostPath.path`]: bin, [`${volumes}.cni-conf.hostPath.path`]: conf };
}

const flat = (documents: readonly Fields[]): ReadonlyMap<string, Data> =>
  new Map(
    documents.flatMap((document) =>
      [...leaves(document)].map(([path, value]) => [`${nameOf(document)} ${path}`, value] as const),
    ),
  );

/** Leaves that differ, with the overlay's value; null for what the overlay leaves out. */
function differences(overlay: readonly Fields[], base = 'base'): Readonly<Record<string, Data>> {
  const [before, after] = [flat(kustomize(base)), flat(overlay)];
  const paths = [...new Set([...before.keys(), ...after.keys()])].sort();
  return Object.fromEntries(
    paths
      .filter((path) => before.get(path) !== after.get(path))
      .map((path) => [path, after.get(path) ?? null]),
  );
}

it('every overlay is looked at here', () => {
  assert.deepEqual(
    readdirSync(manifestPath('overlays')).sort(),
    ['bandwidth', ...Object.keys(EXPECTED)].sort(),
  );
});

for (const [name, expected] of Object.entries(EXPECTED)) {
  it(`overlay ${name}`, { skip }, () => {
    assert.deepEqual(differences(kustomize(`overlays/${name}`)), expected);
  });
}

for (const name of ['k3s', 'microk8s']) {
  it(`overlay ${name}: it is removed where it was installed`, { skip }, () => {
    const paths = Object.values(EXPECTED[name] ?? {}).map(word);
    const [bin = '', conf = ''] = paths;
    assert.deepEqual(
      differences(kustomize(`overlays/${name}/remove`), 'remove'),
      cniPaths(conf, bin, 'weft-remove/weft-remove'),
    );
  });
}

it('overlay custom: the agent takes its values', { skip }, () => {
  const settings = kustomize('overlays/custom').find((each) => nameOf(each) === 'ConfigMap/weft/weft');
  assert.ok(settings !== undefined);
  const environment = fields(settings['data']) as Readonly<Record<string, string>>; // as: parseSettings checks each
  const { port, mtu } = parseSettings({ ...environment, HOSTNAME: 'n1' });
  assert.deepEqual([port, mtu], [4789, 1376]);
});

it('overlay bandwidth: one plugin more', { skip }, () => {
  const path = 'ConfigMap/weft/weft-cni data.10-weft.conflist';
  const changed = differences(kustomize('overlays/bandwidth'));
  assert.deepEqual(Object.keys(changed), [path]);
  const base = kustomize('base').find((each) => nameOf(each) === 'ConfigMap/weft/weft-cni');
  assert.ok(base !== undefined);
  const plugins = (conflist: Data | undefined): readonly Fields[] =>
    list((JSON.parse(word(conflist)) as Fields)['plugins']); // as: list checks it
  assert.deepEqual(plugins(changed[path]), [
    ...plugins(fields(base['data'])['10-weft.conflist']),
    { type: 'bandwidth', capabilities: { bandwidth: true } },
  ]);
});
