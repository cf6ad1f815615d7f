// Faults of the cluster: its API server, its objects, its other nodes.
import { cidrContains } from '../../../proto/address.ts';
import { parseCidr, parseIpv4 } from '../../../proto/address-text.ts';
import { ADDRESS_BLOCKS, API_GROUP_VERSION, PEERS } from '../../../proto/api-kinds.ts';
import type { Fault, Undo } from '../fault.ts';
import { blockingTable } from '../hands.ts';
import type { Stage, StageApi } from '../stage.ts';

const NODES = '/api/v1/nodes';
const PEER_PATH = `/apis/${API_GROUP_VERSION}/${PEERS}`;
const BLOCK_PATH = `/apis/${API_GROUP_VERSION}/${ADDRESS_BLOCKS}`;
const BLOCKS_IN_RANGE = 16;

interface KubeObject {
  readonly metadata: { readonly name: string; readonly uid: string };
  readonly spec: Readonly<Record<string, unknown>>;
}

const toApi = ({ api: { address, port } }: Stage): string => `ip daddr ${address} tcp dport ${port}`;

/** Each of the two watches tells its own end. */
const disconnected = { event: 'api_disconnected', message: /follow peers/ } as const;

/** A Node that no machine is, with its Peer. */
async function addAbsentNode(
  { api }: Stage,
  { name, ...spec }: { readonly name: string; readonly vtepMac?: string; readonly version?: string },
): Promise<Undo> {
  await api.create(NODES, { apiVersion: 'v1', kind: 'Node', metadata: { name }, spec: {} });
  const { metadata } = (await api.read(`${NODES}/${name}`)) as KubeObject; // as: the API's own form
  const owner = { apiVersion: 'v1', kind: 'Node', name, uid: metadata.uid };
  await api.create(PEER_PATH, {
    apiVersion: API_GROUP_VERSION,
    kind: 'Peer',
    metadata: { name, ownerReferences: [owner] },
    spec: {
      nodeUid: metadata.uid,
      addresses: ['172.31.0.199'],
      port: 6784,
      vtepMac: '0e:00:00:00:00:99',
      features: [],
      version: '0.1.0',
      ...spec,
    },
  });
  return async () => {
    await api.remove(`${PEER_PATH}/${name}`);
    await api.remove(`${NODES}/${name}`);
  };
}

async function blocks(api: StageApi): Promise<readonly KubeObject[]> {
  return ((await api.read(BLOCK_PATH)) as { items: readonly KubeObject[] }).items; // as: the API's own form
}

const createBlock = (api: StageApi, cidr: string, owner: { node: string; nodeUid: string }): Promise<void> =>
  api.create(BLOCK_PATH, {
    apiVersion: API_GROUP_VERSION,
    kind: 'AddressBlock',
    metadata: { name: cidr.replace('/', '-') },
    spec: { cidr, ...owner },
  });

export const CLUSTER_FAULTS: readonly Fault[] = [
  {
    name: 'api-unreachable',
    what: 'the API server refuses connections',
    at: 0,
    inject: (stage) =>
      blockingTable(stage.nodes[0], { hook: 'output', rule: `${toApi(stage)} reject with tcp reset` }),
    check: 'api',
    says: /./,
    metric: 'weft_api_connected',
    log: disconnected,
  },
  {
    name: 'api-half-open',
    what: "the API server's packets are lost on the way, connections stay open",
    at: 0,
    inject: (stage) => blockingTable(stage.nodes[0], { hook: 'output', rule: `${toApi(stage)} drop` }),
    check: 'api',
    says: /./,
    metric: 'weft_api_connected',
    log: disconnected,
    healsInSeconds: 90,
  },
  {
    name: 'api-forbidden',
    what: "the agents' role is taken away",
    at: 0,
    inject: ({ api }) => api.forbid(),
    check: 'api',
    says: /403|[Ff]orbid/,
    metric: 'weft_api_requests_total{code="403"}',
    healsInSeconds: 90,
  },
  {
    name: 'duplicate-vtep',
    what: 'a node joins with the VTEP address of another, as a cloned machine does',
    at: 0,
    inject: async (stage) => {
      const peer = (await stage.api.read(`${PEER_PATH}/node-2`)) as KubeObject; // as: the API's own form
      return addAbsentNode(stage, { name: 'impostor', vtepMac: String(peer.spec['vtepMac']) });
    },
    check: 'agent_says',
    says: /impostor/,
    metric: 'weft_cluster_problems',
    log: { event: 'peer_collision', message: /impostor/ },
  },
  {
    name: 'version-skew',
    what: 'a node runs an agent of another version',
    at: 0,
    inject: (stage) => addAbsentNode(stage, { name: 'old-node', version: '0.0.9' }),
    check: 'version_skew',
    says: /0\.0\.9/,
  },
  {
    name: 'wrong-vni',
    what: "another node's agent was started with another VNI",
    at: 0,
    only: 'lab', // on the cluster all nodes have one ConfigMap
    inject: async ({ nodes: [, , third] }) => {
      await third.restartAgent({ WEFT_VNI: '7' });
      return () => third.restartAgent();
    },
    check: 'refused_packets',
    says: /vxlan_vni/,
    metric: 'weft_dropped_packets_total{reason="vxlan_vni"}',
    healsInSeconds: 90,
  },
  {
    name: 'range-exhausted',
    what: 'no block of the range is left',
    at: 0,
    only: 'lab', // whose range is small
    inject: async (stage) => {
      const { api } = stage;
      const undo = await addAbsentNode(stage, { name: 'hoarder' });
      const { metadata } = (await api.read(`${NODES}/hoarder`)) as KubeObject; // as: the API's own form
      const held = new Set((await blocks(api)).map(({ spec }) => spec['cidr']));
      const free = Array.from(
        { length: BLOCKS_IN_RANGE },
        (_, at) => `10.32.${at >> 2}.${(at & 3) * 64}/26`,
      ).filter((cidr) => !held.has(cidr));
      for (const cidr of free) await createBlock(api, cidr, { node: 'hoarder', nodeUid: metadata.uid });
      return async () => {
        for (const cidr of free) await api.remove(`${BLOCK_PATH}/${cidr.replace('/', '-')}`);
        await undo();
      };
    },
    check: 'addresses',
    says: /No block of 10\.32\.0\.0\/22 is free/,
    metric: 'weft_ipam_range_blocks{state="free"}',
    healsInSeconds: 60,
  },
  {
    name: 'block-taken',
    what: "a node's block is deleted by force and claimed by another",
    at: 0,
    only: 'lab',
    inject: async (stage) => {
      const { api, nodes } = stage;
      const undo = await addAbsentNode(stage, { name: 'thief' });
      const { metadata } = (await api.read(`${NODES}/thief`)) as KubeObject; // as: the API's own form
      const pod = parseIpv4(nodes[0].podAddress);
      const own = (await blocks(api)).find(({ spec }) => cidrContains(parseCidr(String(spec['cidr'])), pod));
      const cidr = String(own?.spec['cidr']);
      const path = `${BLOCK_PATH}/${own?.metadata.name}`;
      await api.replace(path, {
        ...own,
        metadata: { ...own?.metadata, annotations: { 'weft.dev/force-delete': 'true' } },
      });
      await api.remove(path);
      await createBlock(api, cidr, { node: 'thief', nodeUid: metadata.uid });
      return async () => {
        await api.remove(path);
        await undo();
      };
    },
    check: 'addresses',
    says: /held by another node too/,
    metric: 'weft_ipam_blocks{state="fenced"}',
    log: { event: 'block_fenced', message: /./ },
    healsInSeconds: 0, // no address of the block is trusted before the pods that have one are gone
  },
  {
    name: 'node-object-deleted',
    what: "the node's own Node object is deleted",
    at: 2,
    only: 'lab', // a kubelet registers its node at its start alone
    inject: async ({ api, nodes: [, , third] }) => {
      await api.remove(`${NODES}/${third.name}`);
      return () =>
        api.create(NODES, {
          apiVersion: 'v1',
          kind: 'Node',
          metadata: { name: third.name },
          spec: {},
          status: { addresses: [{ type: 'InternalIP', address: third.address }] },
        });
    },
    check: 'cluster_objects',
    says: /There is no Node "node-3"/,
    healsInSeconds: 120,
  },
];
