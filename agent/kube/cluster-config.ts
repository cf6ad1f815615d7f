// Program: reads KUBECONFIG or the pod's service account with @kubernetes/client-node and prints ClusterFacts (or the problem) as JSON.
// A process of its own because that package costs 75 MB of resident memory, which neither a deep import nor a worker gives back;
// what the agent needs of it is a few lines. The only importer of the package. Started by endpoint-config.ts.
import { readFileSync } from 'node:fs';
import { delimiter, dirname, resolve } from 'node:path';

import type { Cluster, User } from '@kubernetes/client-node/dist/config_types.js';
import { KubeConfig } from '@kubernetes/client-node/dist/config.js';

import type { ClusterFacts, FileOrText } from './api-endpoint.ts';

/** What is printed. The problem ends with the remedy. */
export type ClusterConfigAnswer =
  | { readonly facts: ClusterFacts }
  | { readonly source: string; readonly problem: string };

class ConfigProblem extends Error {}

function loadKubeconfig(files: readonly string[]): KubeConfig {
  const [first, ...others] = files.map((file) => {
    const config = new KubeConfig();
    try {
      config.loadFromString(withTokenFile(readFileSync(file, 'utf8')));
    } catch (error) {
      // The first line only: then the YAML reader quotes the file, and with it a token, and this ends up in the log.
      const [reason] = (error instanceof Error ? error.message : String(error)).split('\n');
      throw new ConfigProblem(
        `cannot read "${file}": ${reason}; set KUBECONFIG to a readable configuration file`,
      );
    }
    config.makePathsAbsolute(dirname(file));
    for (const { authProvider } of config.getUsers()) {
      const named = authProvider?.config;
      if (named?.tokenFile) named.tokenFile = resolve(dirname(file), String(named.tokenFile));
    }
    return config;
  });
  if (first === undefined) throw new ConfigProblem('KUBECONFIG names no file: name one, or unset it');
  for (const other of others) first.mergeConfig(other, first.getCurrentContext() !== undefined);
  return first;
}

/** client-node 2.0.1 looks for "token-file" where kubectl writes "tokenFile"; its own word for the same is an auth-provider. */
const withTokenFile = (text: string): string =>
  /auth-provider/.test(text)
    ? text
    : text.replaceAll(
        /(["']?)\btokenFile\1[ \t]*:[ \t]*("[^"\n]*"|'[^'\n]*'|[^\s,}#]+)/g,
        '"auth-provider": {"name": "tokenFile", "config": {"tokenFile": $2}}',
      );

function factsOf(config: KubeConfig, source: string): ClusterFacts {
  const context = config.getCurrentContext();
  const contexts = config.getContexts().map(({ name }) => name);
  const found = config.getContextObject(context);
  if (found === null) {
    throw new ConfigProblem(
      `current-context ${JSON.stringify(context)} is not one of its contexts (${contexts.join(', ') || 'none'}): set it with kubectl config use-context`,
    );
  }
  const cluster = config.getCurrentCluster();
  if (cluster === null) {
    throw new ConfigProblem(
      `context "${context}" names cluster "${found.cluster}", which is missing: add it under clusters`,
    );
  }
  const user = config.getCurrentUser();
  if (user === null && found.user) {
    throw new ConfigProblem(
      `context "${context}" names user "${found.user}", which is missing: add it under users`,
    );
  }
  return { source, ...clusterFacts(cluster), ...(user === null ? {} : userFacts(user)) };
}

function clusterFacts(cluster: Cluster): Omit<ClusterFacts, 'source'> {
  if (cluster.proxyUrl) {
    throw new ConfigProblem(
      `proxy-url of cluster "${cluster.name}" is not supported: reach the API server directly`,
    );
  }
  return {
    server: cluster.server,
    skipTlsVerify: cluster.skipTLSVerify,
    ...(cluster.tlsServerName ? { tlsServerName: cluster.tlsServerName } : {}),
    ...given('ca', cluster.caData, cluster.caFile),
  };
}

function userFacts(user: User): Partial<ClusterFacts> {
  const tokenFile: unknown = user.authProvider?.config?.tokenFile;
  if (user.exec || (user.authProvider && typeof tokenFile !== 'string')) {
    throw new ConfigProblem(
      `user "${user.name}" needs a credential program, which is not supported: use a token, a tokenFile or a client certificate`,
    );
  }
  return {
    ...given('certificate', user.certData, user.certFile),
    ...given('key', user.keyData, user.keyFile),
    ...(typeof tokenFile === 'string'
      ? { token: { file: tokenFile } }
      : user.token
        ? { token: { text: user.token } }
        : {}),
    ...(user.username ? { username: user.username, password: user.password ?? '' } : {}),
  };
}

/** In place wins over the file, as in kubectl. */
function given(
  name: 'ca' | 'certificate' | 'key',
  base64: string | undefined,
  file: string | undefined,
): { readonly [name: string]: FileOrText } {
  if (base64) return { [name]: { text: Buffer.from(base64, 'base64').toString('utf8') } };
  return file ? { [name]: { file } } : {};
}

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

function answer(): ClusterConfigAnswer {
  const named = process.env['KUBECONFIG'];
  const inCluster = process.env['KUBERNETES_SERVICE_HOST'];
  const source = named ? `KUBECONFIG="${named}"` : `the service account (${SERVICE_ACCOUNT})`;
  try {
    if (named) {
      const files = named.split(delimiter).filter((file) => file !== '');
      return { facts: factsOf(loadKubeconfig(files), source) };
    }
    if (!inCluster) {
      throw new ConfigProblem(
        'KUBECONFIG and KUBERNETES_SERVICE_HOST are both unset: run as a pod, or set KUBECONFIG to a configuration file',
      );
    }
    const config = new KubeConfig();
    // Its argument is a prefix of the well-known paths: tests put a service account elsewhere.
    config.loadFromCluster(process.env['WEFT_SERVICE_ACCOUNT_ROOT'] ?? '');
    return { facts: factsOf(config, source) };
  } catch (error) {
    return { source, problem: error instanceof Error ? error.message : String(error) };
  }
}

process.stdout.write(JSON.stringify(answer()));
