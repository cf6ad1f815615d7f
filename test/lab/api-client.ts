// The lab's own client of the API server: plain HTTPS requests with the lab's token, independent of the agent's.
import type { IncomingMessage } from 'node:http';
import { Agent, request } from 'node:https';

import {
  ADDRESS_BLOCKS,
  API_GROUP_VERSION,
  type AddressBlock,
  type ObjectMeta,
  PEERS,
  type Peer,
  type PeerSpec,
} from '../../proto/api-kinds.ts';

const GROUP_PATH = `/apis/${API_GROUP_VERSION}`;
const BOUND_MS = 10_000;

export interface ApiAnswer {
  readonly status: number;
  readonly body: unknown;
}

export interface ApiClient {
  readonly send: (method: string, path: string, body?: unknown) => Promise<ApiAnswer>;
  /** Creates the Node object as kubelet does; returns its UID. */
  readonly createNode: (name: string, address: string) => Promise<string>;
  readonly deleteNode: (name: string) => Promise<void>;
  readonly peers: () => Promise<readonly Peer[]>;
  readonly blocks: () => Promise<readonly AddressBlock[]>;
  readonly createPeer: (name: string, spec: PeerSpec) => Promise<void>;
  readonly createBlock: (cidr: string, owner: { node: string; nodeUid: string }) => Promise<void>;
  readonly close: () => void;
}

export interface ApiClientOptions {
  readonly host: string;
  readonly port: number;
  readonly token: string;
  /** PEM. */
  readonly certificateAuthority: string;
}

export function createApiClient({ host, port, token, certificateAuthority }: ApiClientOptions): ApiClient {
  const agent = new Agent({ keepAlive: true, ca: certificateAuthority });
  const send = (method: string, path: string, body?: unknown): Promise<ApiAnswer> =>
    new Promise((resolve, reject) => {
      const text = body === undefined ? undefined : JSON.stringify(body);
      const outgoing = request(
        {
          agent,
          host,
          port,
          method,
          path,
          timeout: BOUND_MS,
          headers: {
            authorization: `Bearer ${token}`,
            ...(text === undefined ? {} : { 'content-type': 'application/json' }),
          },
        },
        (incoming) => void readAnswer(incoming).then(resolve, reject),
      );
      outgoing.on('timeout', () =>
        outgoing.destroy(new Error(`${method} ${path}: no answer in ${BOUND_MS} ms`)),
      );
      outgoing.on('error', reject);
      outgoing.end(text);
    });
  const expect = async (method: string, path: string, body?: unknown): Promise<unknown> => {
    const answer = await send(method, path, body);
    if (answer.status >= 300) {
      throw new Error(`${method} ${path} was answered ${answer.status}: ${JSON.stringify(answer.body)}`);
    }
    return answer.body;
  };
  const list = async <T>(path: string): Promise<readonly T[]> => {
    const body = (await expect('GET', path)) as { items?: readonly T[] }; // as: a Kubernetes list
    return body.items ?? [];
  };
  return {
    send,
    createNode: async (name, address) => {
      const node = (await expect('POST', '/api/v1/nodes', {
        apiVersion: 'v1',
        kind: 'Node',
        metadata: { name, labels: { 'kubernetes.io/hostname': name, 'kubernetes.io/os': 'linux' } },
        spec: {},
        status: {
          addresses: [
            { type: 'InternalIP', address },
            { type: 'Hostname', address: name },
          ],
        },
      })) as { metadata: { uid: string } }; // as: what a create answers
      return node.metadata.uid;
    },
    deleteNode: async (name) => {
      await expect('DELETE', `/api/v1/nodes/${name}`);
    },
    peers: () => list<Peer>(`${GROUP_PATH}/${PEERS}`),
    blocks: () => list<AddressBlock>(`${GROUP_PATH}/${ADDRESS_BLOCKS}`),
    createPeer: async (name, spec) => {
      const ownerReferences = [{ apiVersion: 'v1', kind: 'Node', name, uid: spec.nodeUid }];
      const metadata: ObjectMeta = { name, ownerReferences };
      await expect('POST', `${GROUP_PATH}/${PEERS}`, {
        apiVersion: API_GROUP_VERSION,
        kind: 'Peer',
        metadata,
        spec,
      });
    },
    createBlock: async (cidr, owner) => {
      await expect('POST', `${GROUP_PATH}/${ADDRESS_BLOCKS}`, {
        apiVersion: API_GROUP_VERSION,
        kind: 'AddressBlock',
        metadata: { name: cidr.replace('/', '-') },
        spec: { cidr, ...owner },
      });
    },
    close: () => agent.destroy(),
  };
}

function readAnswer(incoming: IncomingMessage): Promise<ApiAnswer> {
  return new Promise((resolve, reject) => {
    let text = '';
    incoming.setEncoding('utf8');
    incoming.on('data', (chunk: string) => (text += chunk));
    incoming.on('error', reject);
    incoming.on('end', () => {
      let body: unknown = text;
      try {
        body = JSON.parse(text);
      } catch {
        // an answer that is not JSON is given as text
      }
      resolve({ status: incoming.statusCode ?? 0, body });
    });
  });
}
