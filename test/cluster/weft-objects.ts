// Objects of Weft as the tests of the manifests write them, right and wrong, and how they are offered to the API server.
import assert from 'node:assert/strict';

import type { Kubectl } from './agent-access.ts';
import type { Cluster } from './cluster.ts';

/** At the end of the range, where the agents of this small cluster have none. */
export const FREE_BLOCK: string = '10.47.255.192/26';

export interface Peer {
  readonly metadata: { readonly name: string };
  readonly spec: object;
}

interface ObjectList<Item> {
  readonly items: readonly Item[];
}
interface NamedObject {
  readonly metadata: { readonly name: string; readonly uid: string };
}
interface Block extends NamedObject {
  readonly spec: { readonly node: string; readonly nodeUid: string; readonly cidr: string };
}

export async function get<Item>(cluster: Cluster, words: string): Promise<readonly Item[]> {
  const text = await cluster.kubectl(['get', ...words.split(' '), '--output', 'json']);
  return (JSON.parse(text) as ObjectList<Item>).items; // as: kubectl's own form
}

export async function nodeUid(cluster: Cluster, name: string): Promise<string> {
  const node = (await get<NamedObject>(cluster, 'nodes')).find(({ metadata }) => metadata.name === name);
  assert.ok(node !== undefined, `no node "${name}"`);
  return node.metadata.uid;
}

export async function blockOf(cluster: Cluster, node: string): Promise<Block> {
  const block = (await get<Block>(cluster, 'addressblocks')).find(({ spec }) => spec.node === node);
  assert.ok(block !== undefined, `"${node}" has no block`);
  return block;
}

interface BlockFields {
  readonly node: string;
  readonly uid: string;
  readonly cidr?: string;
  readonly name?: string;
  readonly owners?: Owners;
}

type Owners = readonly { readonly name: string; readonly uid: string }[];

const ownedBy = (owners: Owners): object => ({
  ownerReferences: owners.map((owner) => ({ apiVersion: 'v1', kind: 'Node', ...owner })),
});

export function blockObject({ node, uid, ...other }: BlockFields): string {
  const { cidr = FREE_BLOCK, owners = [] } = other;
  return JSON.stringify({
    apiVersion: 'weft.dev/v1alpha1',
    kind: 'AddressBlock',
    metadata: {
      name: other.name ?? cidr.replace('/', '-'),
      ...ownedBy(owners),
    },
    spec: { cidr, node, nodeUid: uid },
  });
}

export const peerObject = (name: string, spec: object, owners: Owners = []): string =>
  JSON.stringify({
    apiVersion: 'weft.dev/v1alpha1',
    kind: 'Peer',
    metadata: { name, ...ownedBy(owners) },
    spec,
  });

/** Everything of admission and validation, and nothing is stored. */
export const create = (kubectl: Kubectl, object: string): Promise<string> =>
  kubectl('create --dry-run=server --validate=ignore --filename -'.split(' '), { stdin: object });

export const refused = async (attempt: Promise<unknown>, message: string | RegExp): Promise<void> => {
  const pattern =
    typeof message === 'string'
      ? new RegExp(message.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`))
      : message;
  await assert.rejects(attempt, pattern);
};
