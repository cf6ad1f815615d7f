// Who may write what of Weft's kinds: what is forbidden is refused in words that help, and the agents have exactly the rights that the
// documentation says. Topology: two nodes (cluster.ts).
import assert from 'node:assert/strict';
import process from 'node:process';

import { accountToken, kubectlAsAgent, kubectlWithToken } from './agent-access.ts';
import { enterClusterEnclosure } from './cluster.ts';
import { installWeft } from './install.ts';
import { proxyMode } from './node-programs.ts';
import { createClusterSteps } from './steps.ts';
import {
  FREE_BLOCK,
  type Peer,
  blockObject,
  blockOf,
  create,
  get,
  nodeUid,
  peerObject,
  refused,
} from './weft-objects.ts';

await enterClusterEnclosure();

/** Of a node that is not there. */
const GONE_BLOCK = '10.47.255.128/26';

const { step, say } = createClusterSteps({ nodes: 2, proxyMode: proxyMode(process.env) });

step('kubectl apply: the cluster is up', (cluster) => installWeft(cluster, say));

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
  const peer = (await get<Peer>(cluster, 'peers')).find(({ metadata }) => metadata.name === 'node-1')?.spec;
  assert.ok(peer !== undefined);
  for (const owners of [[otherNode], [{ ...ownNode, uid: other }], [], [ownNode, otherNode]]) {
    await refused(create(agent, peerObject('node-1', peer, owners)), owner);
  }
  await refused(
    create(agent, blockObject({ node: 'node-1', uid: own, owners: [ownNode] })),
    `${denied}metadata.ownerReferences must be empty`,
  );
});

step('an agent gives back a block of its own, and of others only what has no peer', async (cluster) => {
  const agent = await kubectlAsAgent(cluster, 'node-1');
  const remove = async (node: string): Promise<string> =>
    agent(['delete', '--dry-run=server', 'addressblock', (await blockOf(cluster, node)).metadata.name]);
  await remove('node-1');
  await refused(
    remove('node-2'),
    'node "node-2", which holds the block, is a peer: only its own agent may give the block back',
  );
  await cluster.kubectl('create --validate=ignore --filename -'.split(' '), {
    stdin: blockObject({ node: 'gone', uid: 'uid-of-gone', cidr: GONE_BLOCK }),
  });
  const name = GONE_BLOCK.replace('/', '-');
  await agent(['delete', '--dry-run=server', 'addressblock', name]);
  await refused(
    cluster.kubectl(['delete', 'addressblock', name]),
    'pods on node "gone" may have addresses of this block. It is freed by itself some minutes after that Node is deleted',
  );
  await cluster.kubectl(['annotate', 'addressblock', name, 'weft.dev/force-delete=true']);
  await cluster.kubectl(['delete', 'addressblock', name]);
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
    await refused(
      patch({ stateId: '0'.repeat(32) }),
      'stateId is immutable: delete the block and claim it again',
    );
    await patch({ nodeUid: 'another' });
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
        'addressblocks.weft.dev [] [] [get list watch create update delete]',
        ...(namespace === 'default' ? ['events [] [] [create patch]'] : []),
        'nodes [] [] [get]',
        'peers.weft.dev [] [] [get list watch create update]',
        'servicecidrs.networking.k8s.io [] [] [list]',
      ],
      namespace,
    );
  }
});
