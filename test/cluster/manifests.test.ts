// The manifests on the API server that they are for: everything is valid there and twice the same, what is forbidden is refused in
// words that help, and the agents have exactly the rights that the documentation says. Topology: two nodes (cluster.ts).
import assert from 'node:assert/strict';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';

import { API_GROUP } from '../../proto/api-kinds.ts';
import { CUSTOM_KINDS } from '../../proto/api-schema.ts';
import { ENCLOSURE, runCommand, tryCommand } from '../lab/command.ts';
import { until } from '../lab/condition.ts';
import { LAB_DIRECTORY } from '../lab/enclosure.ts';
import { accountToken, kubectlAsAgent, kubectlWithToken } from './agent-access.ts';
import { schemaLocation, writeApiSchemas } from './api-schemas.ts';
import { optionalProgram } from './build.ts';
import { type Cluster, enterClusterEnclosure } from './cluster.ts';
import { MANIFEST, installWeft } from './install.ts';
import { proxyMode } from './node-programs.ts';
import { createClusterSteps } from './steps.ts';
import {
  FREE_BLOCK,
  blockObject,
  blockOf,
  create,
  get,
  nodeUid,
  peerObject,
  refused,
} from './weft-objects.ts';
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

step('an agent writes what is of its own node, and only that', async (cluster) => {
  const agent = await kubectlAsAgent(cluster, 'node-1');
  const [own, other] = [await nodeUid(cluster, 'node-1'), await nodeUid(cluster, 'node-2')];
  await create(agent, blockObject({ node: 'node-1', uid: own }));
  const denied = "ValidatingAdmissionPolicy 'weft-own-node' with binding 'weft-own-node' denied request: ";
  const foreign = `${denied}this agent runs on node "node-1" and may not write what belongs to node "node-2"`;
  await refused(create(agent, blockObject({ node: 'node-2', uid: other })), foreign);
  await refused(create(agent, blockObject({ node: 'node-2', uid: own })), foreign);
  await refused(
    create(agent, blockObject({ node: 'node-1', uid: other })),
    `${denied}spec.nodeUid must be "${own}", the UID of node "node-1" on which this agent runs`,
  );
  const owner = `${denied}metadata.ownerReferences must be exactly the Node that spec.nodeUid names`;
  const [ownNode, otherNode] = [
    { name: 'node-1', uid: own },
    { name: 'node-2', uid: other },
  ];
  for (const owners of [[otherNode], [{ ...ownNode, uid: other }], [], [ownNode, otherNode]]) {
    await refused(create(agent, blockObject({ node: 'node-1', uid: own, owners })), owner);
  }
});

step('an agent gives back a block of its own, and deletes no other', async (cluster) => {
  const agent = await kubectlAsAgent(cluster, 'node-1');
  const remove = async (node: string): Promise<string> =>
    agent(['delete', '--dry-run=server', 'addressblock', (await blockOf(cluster, node)).metadata.name]);
  await remove('node-1');
  await refused(
    remove('node-2'),
    'this agent runs on node "node-1" and may not write what belongs to node "node-2"',
  );
});

step('an agent changes its own Peer, and no other', async (cluster) => {
  const agent = await kubectlAsAgent(cluster, 'node-1');
  const replace = async (name: string): Promise<string> => {
    const peer = await cluster.kubectl(['get', 'peer', name, '--output', 'json']);
    return agent('replace --dry-run=server --validate=ignore --filename -'.split(' '), { stdin: peer });
  };
  await replace('node-1');
  await refused(
    replace('node-2'),
    'this agent runs on node "node-1" and may not write what belongs to node "node-2"',
  );
});

step('a token that is not of a pod on a node writes nothing', async (cluster) => {
  const agent = kubectlWithToken(cluster, await accountToken(cluster));
  const uid = await nodeUid(cluster, 'node-1');
  await refused(
    create(agent, blockObject({ node: 'node-1', uid })),
    "the token does not say on which node this agent runs: it must be a pod's own token",
  );
});

step('an administrator may write for any node', async (cluster) => {
  await create(cluster.kubectl, blockObject({ node: 'node-2', uid: await nodeUid(cluster, 'node-2') }));
});

step(
  'a block never changes its node, its identity or its CIDR, and its name is its CIDR',
  async (cluster) => {
    const block = await blockOf(cluster, 'node-1');
    const patch = (spec: object): Promise<string> =>
      cluster.kubectl([
        ...`patch addressblock ${block.metadata.name} --dry-run=server --type merge --patch`.split(' '),
        JSON.stringify({ spec }),
      ]);
    await refused(patch({ node: 'node-2' }), 'node is immutable: delete the block and claim it again');
    await refused(patch({ nodeUid: 'another' }), 'nodeUid is immutable: delete the block and claim it again');
    const named = 'metadata.name must be spec.cidr with "-" for "/"';
    await refused(patch({ cidr: FREE_BLOCK }), named);
    const { node, nodeUid: uid } = block.spec;
    await refused(create(cluster.kubectl, blockObject({ node, uid, name: 'another' })), named);
  },
);

step('the schemas refuse what is no block and no peer, and drop what they do not know', async (cluster) => {
  const uid = await nodeUid(cluster, 'node-1');
  const { kubectl } = cluster;
  for (const [cidr, message] of [
    ['10.32.0.0', 'spec.cidr in body should match'],
    ['fd00::-64', 'spec.cidr in body should match'],
    [`10.32.0.0/26${'0'.repeat(10)}`, 'may not be more than 18'],
  ] as const) {
    await refused(
      create(kubectl, blockObject({ node: 'node-1', uid, cidr })),
      new RegExp(message.replaceAll('.', String.raw`\.`)),
    );
  }
  const peer = {
    nodeUid: uid,
    addresses: ['172.31.0.11'],
    port: 6784,
    vtepMac: '0a:00:00:00:00:01',
    features: ['probe'],
    version: '0.1.0',
  };
  for (const [change, message] of [
    [{ port: 0 }, 'spec.port in body should be greater than or equal to 1'],
    [{ port: 65_536 }, 'spec.port in body should be less than or equal to 65535'],
    [{ addresses: [] }, 'spec.addresses in body should have at least 1 items'],
    [{ addresses: ['fd00::1'] }, 'spec.addresses[0]'],
    [{ addresses: Array.from({ length: 17 }, () => '172.31.0.11') }, 'must have at most 16 items'],
    [{ vtepMac: '0A:00:00:00:00:01' }, 'spec.vtepMac in body should match'],
    [{ features: ['probe', 'probe'] }, 'Duplicate value: "probe"'],
    [{ version: '' }, 'spec.version in body should be at least 1 chars long'],
    [{ nodeUid: undefined }, 'spec.nodeUid: Required value'],
  ] as const) {
    await refused(create(kubectl, peerObject('another', { ...peer, ...change })), message);
  }
  const told = await kubectl(
    'create --dry-run=server --validate=ignore --output json --filename -'.split(' '),
    {
      stdin: peerObject('another', { ...peer, unknown: true }),
    },
  );
  assert.deepEqual((JSON.parse(told) as { spec: object }).spec, peer); // as: kubectl's own form
});

step('the rights of an agent are these, beyond what everybody has', async (cluster) => {
  const rights = async (account: string, namespace: string): Promise<readonly string[]> => {
    const group = 'system:serviceaccounts';
    const words = [
      ...`auth can-i --list --no-headers --namespace ${namespace} --as=system:serviceaccount:weft:${account}`.split(
        ' ',
      ),
      ...[group, `${group}:weft`, 'system:authenticated'].map((each) => `--as-group=${each}`),
    ];
    const told = await cluster.kubectl(words);
    return told
      .trim()
      .split('\n')
      .map((line) => line.replaceAll(/\s+/g, ' ').trim());
  };
  for (const namespace of ['default', 'weft', 'kube-system']) {
    const everybody = await rights('nobody', namespace);
    const own = (await rights('weft-agent', namespace)).filter((right) => !everybody.includes(right));
    assert.deepEqual(
      own.toSorted(),
      [
        'addressblocks.weft.dev [] [] [get list watch create delete]',
        ...(namespace === 'default' ? ['events [] [] [create]'] : []),
        'nodes [] [] [get]',
        'peers.weft.dev [] [] [get list watch create update]',
        'servicecidrs.networking.k8s.io [] [] [list]',
      ],
      namespace,
    );
  }
});

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
