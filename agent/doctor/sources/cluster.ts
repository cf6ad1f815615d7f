// Asks the API server for this node's Node and Peer, with the agent's own configuration and credentials: how long it takes, what it says, and
// what time it has there. Never throws.
import http from 'node:http';
import https from 'node:https';

import { API_GROUP_VERSION } from '../../../proto/api-kinds.ts';
import type { ApiEndpoint } from '../../kube/api-endpoint.ts';
import { openClusterEndpoint } from '../../kube/endpoint-config.ts';
import { codeOf } from '../../operation-error.ts';
import { authorityOf } from '../../settings.ts';
import type { ApiAnswer, ApiFacts } from '../scene.ts';

const PATIENCE_MS = 2500;
const MOST_BYTES = 1 << 20;

export interface ClusterQuestion {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly nodeName: string;
}

/** Undefined where no cluster is set. */
export async function askCluster({ environment, nodeName }: ClusterQuestion): Promise<ApiFacts | undefined> {
  if (!environment['KUBECONFIG'] && !environment['KUBERNETES_SERVICE_HOST']) return undefined;
  let endpoint: ApiEndpoint;
  try {
    endpoint = await openClusterEndpoint({ environment });
  } catch (error) {
    const configuration = error instanceof Error ? error.message : String(error);
    return { server: '', configuration, node: undefined, peer: undefined };
  }
  const [node, peer] = await Promise.all([
    ask(endpoint, `/api/v1/nodes/${nodeName}`),
    ask(endpoint, `/apis/${API_GROUP_VERSION}/peers/${nodeName}`),
  ]);
  const { address } = endpoint;
  const server =
    address.kind === 'unix'
      ? `unix:${address.socketPath}`
      : `${address.secure ? 'https' : 'http'}://${authorityOf(address)}`;
  return { server, configuration: undefined, node, peer };
}

async function ask(endpoint: ApiEndpoint, path: string): Promise<ApiAnswer> {
  const startedMs = performance.now();
  const nothing = (failure: string): ApiAnswer => ({
    status: 0,
    failure,
    milliseconds: performance.now() - startedMs,
    clockAheadSeconds: undefined,
    body: undefined,
  });
  try {
    const [authorization, tls] = await Promise.all([endpoint.authorization(), endpoint.tls()]);
    const { address } = endpoint;
    const secure = address.kind === 'tcp' && address.secure;
    const { promise, resolve, reject } = Promise.withResolvers<ApiAnswer>();
    const request = (secure ? https : http).request({
      ...tls,
      ...(address.kind === 'unix'
        ? { socketPath: address.socketPath, path }
        : { host: address.host, port: address.port, path: address.pathPrefix + path }),
      agent: false,
      headers: { accept: 'application/json', ...(authorization === undefined ? {} : { authorization }) },
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    request.on('error', reject);
    request.on('response', (response) => {
      const milliseconds = performance.now() - startedMs;
      const serverMs = Date.parse(response.headers.date ?? '');
      let text = '';
      response.setEncoding('utf8');
      response.on('error', reject);
      response.on('data', (chunk: string) => {
        if (text.length < MOST_BYTES) text += chunk;
      });
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          failure: undefined,
          milliseconds,
          // The header has whole seconds.
          clockAheadSeconds: Number.isNaN(serverMs) ? undefined : (serverMs - Date.now()) / 1000,
          body: parsed(text),
        }),
      );
    });
    request.end();
    return await promise;
  } catch (error) {
    const code = error instanceof Error && error.name === 'AbortError' ? 'TIMEOUT' : codeOf(error);
    return nothing(code);
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
