// The calls that control makes, typed. Everything that comes back is decoded; what is refused is an error INVALID of the call.
// Throws OperationError with a code of ApiErrorCode.
import { createHash } from 'node:crypto';

import {
  ADDRESS_BLOCKS,
  API_GROUP_VERSION,
  type AddressBlock,
  PEERS,
  type Peer,
} from '../../proto/api-kinds.ts';
import type { Decoded } from '../../proto/decoded.ts';
import { OperationError, codeOf } from '../operation-error.ts';
import { isRecord } from './api-status.ts';
import type { HttpClient, JsonRequest } from './http.ts';

export interface DeletePrecondition {
  readonly uid?: string;
  readonly resourceVersion?: string;
}

/** An event about this node, seen with `kubectl describe node`. */
export interface NodeEvent {
  readonly node: { readonly name: string; readonly uid: string };
  readonly type: 'Normal' | 'Warning';
  /** One word in CamelCase. */
  readonly reason: string;
  readonly message: string;
}

export interface NodeFacts {
  readonly uid: string;
  /** What the cluster's controllers gave the node, as text; nothing of ours. */
  readonly podCidrs: readonly string[];
}

export interface ClusterApi {
  getNode(name: string): Promise<NodeFacts>;
  /** The ranges of Services, as text. NOT_FOUND before Kubernetes 1.33. */
  listServiceCidrs(): Promise<readonly string[]>;
  getPeer(name: string): Promise<Peer>;
  /** ALREADY_EXISTS when the name is taken. */
  createPeer(peer: Peer): Promise<Peer>;
  /** With the resourceVersion that it replaces; CONFLICT when somebody else was first. */
  replacePeer(peer: Peer): Promise<Peer>;
  getBlock(name: string): Promise<AddressBlock>;
  /** The claim: ALREADY_EXISTS when another node (or this one, earlier) holds it. */
  createBlock(block: AddressBlock): Promise<AddressBlock>;
  /** With the resourceVersion that it replaces; CONFLICT when somebody else was first. */
  replaceBlock(block: AddressBlock): Promise<AddressBlock>;
  /** CONFLICT when it is not the object that was meant; NOT_FOUND when it is gone. */
  deleteBlock(name: string, precondition: DeletePrecondition): Promise<void>;
  /** The same event again counts up the one that is there. NOT_FOUND when that one has just expired: to be tried again. */
  createEvent(event: NodeEvent): Promise<void>;
}

export interface ClusterApiOptions {
  readonly http: HttpClient;
  readonly decodePeer: (value: unknown) => Decoded<Peer>;
  readonly decodeAddressBlock: (value: unknown) => Decoded<AddressBlock>;
  /** For the timestamps of events only. */
  readonly wallClock?: () => Date;
}

const EVENTS_PATH = '/api/v1/namespaces/default/events';
/** What the API server takes. */
const LONGEST_EVENT = 1024;

export const resourcePath = (plural: string): string => `/apis/${API_GROUP_VERSION}/${plural}`;
export const userAgent = (version: string): string => `weft-agent/${version}`;

export function createClusterApi(options: ClusterApiOptions): ClusterApi {
  const { http, decodePeer, decodeAddressBlock, wallClock = () => new Date() } = options;
  const named = (plural: string, name: string): string =>
    `${resourcePath(plural)}/${encodeURIComponent(name)}`;

  async function call<T>(request: JsonRequest, decode: (value: unknown) => Decoded<T>): Promise<T> {
    const answer = decode(await http.json(request));
    if (answer.ok) return answer.value;
    throw new OperationError(`Cannot ${request.action}: the answer is refused: ${answer.reason}`, {
      code: 'INVALID',
      context: { reason: answer.reason },
    });
  }

  return {
    async getNode(name) {
      const path = `/api/v1/nodes/${encodeURIComponent(name)}`;
      const node = await http.json({ action: `get node "${name}"`, method: 'GET', path });
      const metadata = isRecord(node) ? node['metadata'] : undefined;
      const uid = isRecord(metadata) ? metadata['uid'] : undefined;
      const spec = isRecord(node) ? node['spec'] : undefined;
      const podCidrs = isRecord(spec) ? textsOf(spec['podCIDRs']) : [];
      if (typeof uid === 'string' && uid !== '') return { uid, podCidrs };
      throw new OperationError(`Cannot get node "${name}": the answer has no metadata.uid`, {
        code: 'INVALID',
      });
    },

    async listServiceCidrs() {
      const path = '/apis/networking.k8s.io/v1/servicecidrs';
      const list = await http.json({ action: 'list the ranges of Services', method: 'GET', path });
      const items = isRecord(list) ? list['items'] : undefined;
      if (!Array.isArray(items)) return [];
      return items.flatMap((item: unknown) => {
        const spec = isRecord(item) ? item['spec'] : undefined;
        return isRecord(spec) ? textsOf(spec['cidrs']) : [];
      });
    },

    getPeer: (name) =>
      call({ action: `get peer "${name}"`, method: 'GET', path: named(PEERS, name) }, decodePeer),
    createPeer: (peer) =>
      call(
        {
          action: `create peer "${peer.metadata.name}"`,
          method: 'POST',
          path: resourcePath(PEERS),
          body: peer,
        },
        decodePeer,
      ),
    replacePeer: (peer) =>
      call(
        {
          action: `replace peer "${peer.metadata.name}"`,
          method: 'PUT',
          path: named(PEERS, peer.metadata.name),
          body: peer,
        },
        decodePeer,
      ),

    getBlock: (name) =>
      call(
        { action: `get address block "${name}"`, method: 'GET', path: named(ADDRESS_BLOCKS, name) },
        decodeAddressBlock,
      ),
    createBlock: (block) =>
      call(
        {
          action: `claim address block "${block.metadata.name}"`,
          method: 'POST',
          path: resourcePath(ADDRESS_BLOCKS),
          body: block,
        },
        decodeAddressBlock,
      ),

    replaceBlock: (block) =>
      call(
        {
          action: `confirm address block "${block.metadata.name}"`,
          method: 'PUT',
          path: named(ADDRESS_BLOCKS, block.metadata.name),
          body: block,
        },
        decodeAddressBlock,
      ),

    async deleteBlock(name, precondition) {
      await http.json({
        action: `give back address block "${name}"`,
        method: 'DELETE',
        path: named(ADDRESS_BLOCKS, name),
        body: { apiVersion: 'v1', kind: 'DeleteOptions', preconditions: precondition },
      });
    },

    async createEvent(event) {
      const now = wallClock()
        .toISOString()
        .replace(/\.\d+Z$/, 'Z');
      const name = eventName(event);
      const about = `event "${event.reason}" about node "${event.node.name}"`;
      try {
        await http.json({
          action: `create ${about}`,
          method: 'POST',
          path: EVENTS_PATH,
          body: {
            apiVersion: 'v1',
            kind: 'Event',
            metadata: { name, namespace: 'default' },
            involvedObject: { apiVersion: 'v1', kind: 'Node', ...event.node },
            type: event.type,
            reason: event.reason,
            message: event.message.slice(0, LONGEST_EVENT),
            source: { component: 'weft-agent', host: event.node.name },
            firstTimestamp: now,
            lastTimestamp: now,
            count: 1,
          },
        });
      } catch (error) {
        if (codeOf(error) !== 'ALREADY_EXISTS') throw error;
        // Patched, not replaced: that takes no right to read Events. Its answer has the count.
        const patch = async (body: Readonly<Record<string, unknown>>): Promise<unknown> =>
          http.json({ action: `repeat ${about}`, method: 'PATCH', path: `${EVENTS_PATH}/${name}`, body });
        const known = await patch({ lastTimestamp: now });
        const count = isRecord(known) ? Number(known['count'] ?? 1) : 1;
        await patch({ count: count + 1 });
      }
    },
  };
}

/** Events that say the same of the same node have one name, so that the API server holds them as one. */
function eventName({ node, type, reason, message }: NodeEvent): string {
  const said = createHash('sha256').update(JSON.stringify([node.uid, type, reason, message]));
  return `${node.name}.${said.digest('hex').slice(0, 16)}`;
}

const textsOf = (value: unknown): readonly string[] =>
  Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [];
