// The manifests on the API server that they are for: everything is valid there and twice the same, and each overlay does what it is for.
// Topology: two nodes (cluster.ts).
import assert from 'node:assert/strict';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';

import { API_GROUP } from '../../proto/api-kinds.ts';
import { CUSTOM_KINDS } from '../../proto/api-schema.ts';
import { ENCLOSURE, runCommand, tryCommand } from '../lab/command.ts';
import { until } from '../lab/condition.ts';
import { LAB_DIRECTORY } from '../lab/enclosure.ts';
import { schemaLocation, writeApiSchemas } from './api-schemas.ts';
import { optionalProgram } from './build.ts';
import { type Cluster, enterClusterEnclosure } from './cluster.ts';
import { MANIFEST, installWeft } from './install.ts';
import { proxyMode } from './node-programs.ts';
import { createClusterSteps } from './steps.ts';
import { create, get, refused } from './weft-objects.ts';
import { WHO_CONTAINER } from './workload.ts';

await enterClusterEnclosure({ morePrograms: ['kubeconform'] });

const MANIFESTS = join(import.meta.dirname, '../../manifests');
const CONFLIST = '/etc/cni/net.d/10-weft.conflist';
const OVERLAYS = join(MANIFESTS, 'overlays');

const { step, say } = createClusterSteps({ nodes: 2, proxyMode: proxyMode(process.env) });

const dryRun = (cluster: Cluster, file: string): Promise<string> =>
  cluster.kubectl(['apply', '--dry-run=server', '--validate=strict', '--filename', file]);

const changedIn = (told: string): readonly string[] =>
  told
    .trim()
    .split('\n')
    .filter((line) => !line.endsWith(' unchanged (server dry run)'))
    .map((line) => line.replace(' (server dry run)', ''));

/** Renders a kustomization and answers the file. */
async function rendered(cluster: Cluster, folder: string): Promise<string> {
  const file = join(LAB_DIRECTORY, `${folder.replaceAll('/', '-')}.yaml`);
  writeFileSync(file, await cluster.kubectl(['kustomize', join(MANIFESTS, folder)]));
  return file;
}

const DAEMON_SET = 'daemonset.apps/weft configured';
const EXPECTED: Readonly<Record<string, readonly string[]>> = {
  bandwidth: ['configmap/weft-cni configured'],
  custom: ['configmap/weft configured'],
  k3s: [DAEMON_SET],
  microk8s: [DAEMON_SET],
  privileged: [DAEMON_SET],
};

step('kubectl apply: the cluster is up', (cluster) => installWeft(cluster, say));

step('an install makes no warning about the agents', async (cluster) => {
  const events = await get<{ message: string; reason: string }>(
    cluster,
    'events --namespace weft --field-selector type=Warning',
  );
  assert.deepEqual(
    events.map(({ reason, message }) => `${reason}: ${message}`),
    [],
  );
});

step(
  'the API server takes weft.yaml with every field known, and a second time nothing changes',
  async (cluster) => {
    assert.deepEqual(changedIn(await dryRun(cluster, MANIFEST)), []);
  },
);

step('the base is the same as weft.yaml, and each overlay changes what it is for', async (cluster) => {
  assert.deepEqual(changedIn(await dryRun(cluster, await rendered(cluster, 'base'))), []);
  assert.deepEqual(readdirSync(OVERLAYS).sort(), Object.keys(EXPECTED));
  for (const [name, changed] of Object.entries(EXPECTED)) {
    assert.deepEqual(
      changedIn(await dryRun(cluster, await rendered(cluster, `overlays/${name}`))),
      changed,
      name,
    );
  }
});

step('so it takes what removes Weft, for each layout of the nodes', async (cluster) => {
  await cluster.kubectl(['create', 'namespace', 'weft-remove']);
  try {
    for (const folder of ['remove', 'overlays/k3s/remove', 'overlays/microk8s/remove']) {
      const told = changedIn(await dryRun(cluster, await rendered(cluster, folder)));
      assert.deepEqual(
        told,
        ['namespace/weft-remove configured', 'daemonset.apps/weft-remove created'],
        folder,
      );
    }
  } finally {
    await cluster.kubectl(['delete', 'namespace', 'weft-remove']);
  }
});

step('kubeconform, with the schemas of this very API server, finds nothing', async (cluster, context) => {
  const folder = join(LAB_DIRECTORY, 'schemas');
  const kinds = await writeApiSchemas(cluster, folder);
  const files = [MANIFEST, join(MANIFESTS, 'remove/remove.yaml')];
  for (const name of Object.keys(EXPECTED)) files.push(await rendered(cluster, `overlays/${name}`));
  const words = [
    optionalProgram('kubeconform'),
    '-strict',
    '-summary',
    '-output',
    'json',
    '-schema-location',
    schemaLocation(folder),
  ];
  const { stdout, stderr } = await tryCommand(ENCLOSURE, [...words, ...files]);
  const told = JSON.parse(stdout || stderr) as {
    resources: unknown[] | null;
    summary: Record<string, number>;
  }; // as: its own form
  assert.deepEqual(told.resources ?? [], []);
  const { valid = 0, ...bad } = told.summary;
  assert.deepEqual(bad, { invalid: 0, errors: 0, skipped: 0 });
  assert.ok(valid > 70, `only ${valid} resources were looked at`);
  context.diagnostic(`${valid} resources in ${files.length} files valid; schemas of ${kinds} kinds`);
  // It would find something.
  const wrong = join(LAB_DIRECTORY, 'wrong.yaml');
  writeFileSync(
    wrong,
    (await cluster.kubectl(['kustomize', join(MANIFESTS, 'base')])).replace(
      'hostNetwork: true',
      'hostNetwrk: true',
    ),
  );
  const { status } = await tryCommand(ENCLOSURE, [...words, wrong]);
  assert.notEqual(status, 0);
});

step(
  'pod security: the levels below privileged refuse the agent, its namespace admits it',
  async (cluster) => {
    const [daemonSet] = await get<{ spec: { template: { spec: object } } }>(
      cluster,
      'daemonsets --namespace weft',
    );
    assert.ok(daemonSet !== undefined);
    const pod = (namespace: string): string =>
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'probe', namespace },
        // Without an account of its own: other namespaces do not have that.
        spec: { ...daemonSet.spec.template.spec, serviceAccountName: 'default', serviceAccount: 'default' },
      });
    for (const level of ['baseline', 'restricted']) {
      await cluster.kubectl(['create', 'namespace', level]);
      await cluster.kubectl(['label', 'namespace', level, `pod-security.kubernetes.io/enforce=${level}`]);
      await cluster.kubectl([
        'wait',
        '--for=create',
        'serviceaccount/default',
        '--namespace',
        level,
        '--timeout=60s',
      ]);
      await refused(create(cluster.kubectl, pod(level)), `violates PodSecurity "${level}:latest"`);
      await cluster.kubectl(['delete', 'namespace', level, '--wait=false']);
    }
    await create(cluster.kubectl, pod('weft'));
  },
);

step('kubectl get shows peers and blocks in the columns of the schema', async (cluster) => {
  for (const { plural, columns } of CUSTOM_KINDS) {
    const head = async (wide: boolean): Promise<readonly string[]> => {
      const told = await cluster.kubectl(['get', plural, ...(wide ? ['--output', 'wide'] : [])]);
      return (told.split('\n')[0] ?? '').trim().split(/ {2,}/);
    };
    const names = (wide: boolean): readonly string[] =>
      ['Name', ...columns.filter(({ priority = 0 }) => wide || priority === 0).map(({ name }) => name)].map(
        (name) => name.toUpperCase(),
      );
    // kubectl separates by three blanks, except where a name of two words fills its column.
    assert.deepEqual((await head(false)).join(' ').split(/\s+/), names(false).join(' ').split(' '), plural);
    assert.deepEqual(
      (await head(true)).join(' ').split(/\s+/),
      names(true).join(' ').split(' '),
      `${plural}, wide`,
    );
  }
  assert.match(
    await cluster.kubectl(['get', 'peers']),
    /^node-1 +172\.31\.0\.11 +6784 +[0-9a-f:]{17} +\d+\.\d+\.\d+ +\d+[smh]/m,
  );
  assert.match(
    await cluster.kubectl(['get', 'wb']),
    /^10\.\d+\.\d+\.\d+-26 +10\.\d+\.\d+\.\d+\/26 +node-[12] +\d+[smh]/m,
  );
  const all = await cluster.kubectl(['get', 'weft', '--output', 'name']);
  for (const { singular } of CUSTOM_KINDS) assert.ok(all.includes(`${singular}.${API_GROUP}/`), singular);
});

step('overlay bandwidth: a pod that asks for it is held to its bandwidth', async (cluster) => {
  await cluster.kubectl(['apply', '--filename', await rendered(cluster, 'overlays/bandwidth')]);
  // A mounted ConfigMap follows within a minute or two; a new pod has the new one at once.
  await cluster.kubectl('delete pods --namespace weft --all --timeout=60s'.split(' '));
  await cluster.kubectl('rollout status --namespace weft daemonset/weft --timeout=180s'.split(' '));
  const node = cluster.nodes[0];
  assert.ok(node !== undefined);
  await until(async () => (await runCommand(node.place, ['cat', CONFLIST])).includes('"bandwidth"'), {
    what: `bandwidth in ${CONFLIST}`,
    boundMs: 60_000,
    intervalMs: 500,
  });
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: 'narrow',
      annotations: { 'kubernetes.io/ingress-bandwidth': '8M', 'kubernetes.io/egress-bandwidth': '4M' },
    },
    spec: { nodeName: node.name, terminationGracePeriodSeconds: 0, containers: [WHO_CONTAINER] },
  };
  await cluster.kubectl(['apply', '--filename', '-'], { stdin: JSON.stringify(pod) });
  await cluster.kubectl('wait --for=condition=Ready pod/narrow --timeout=120s'.split(' '));
  const qdiscs = await runCommand(node.place, ['tc', 'qdisc', 'show']);
  assert.match(qdiscs, /qdisc tbf \S+ dev vethwe\S* .*rate 8Mbit/);
  assert.match(qdiscs, /qdisc tbf .*rate 4Mbit/);
  await cluster.kubectl('delete pod narrow --timeout=60s'.split(' '));
  await until(async () => !(await runCommand(node.place, ['tc', 'qdisc', 'show'])).includes('tbf'), {
    what: 'the limits to go with the pod',
    boundMs: 60_000,
    intervalMs: 500,
  });
});
