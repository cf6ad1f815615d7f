// A second API server, on a node: where kubeadm made the cluster, the API server's machine is a node and has the agent, so the API server
// reaches pods (webhooks, aggregated APIs, `kubectl proxy`) and pods reach it where it is. The first one, at the gateway's address, is no
// node and has no route to pods. Both are members of one control plane: they share etcd and are the endpoints of Service "kubernetes".
import { readFileSync } from 'node:fs';
import { createServer, connect } from 'node:net';
import { once } from 'node:events';

import { ENCLOSURE, tryCommand } from '../lab/command.ts';
import { until } from '../lab/condition.ts';
import { UNDERLAY_GATEWAY } from '../lab/node-namespace.ts';
import type { Cluster } from './cluster.ts';

const ETCD_PORT = 2379;
const API_PORT = 6443;

export interface NodeApiServer {
  /** With its port. */
  readonly server: string;
  /** Words after `kubectl` that make it ask this one. */
  readonly select: readonly string[];
  readonly close: () => Promise<void>;
}

/** Etcd listens on the enclosure's loopback alone: hands it out on the underlay. */
async function relayEtcd(): Promise<{ readonly close: () => void }> {
  const relay = createServer((client) => {
    const etcd = connect(ETCD_PORT, '127.0.0.1');
    client.pipe(etcd).pipe(client);
    for (const [one, other] of [
      [client, etcd],
      [etcd, client],
    ] as const) {
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroy());
    }
  });
  relay.listen(ETCD_PORT, UNDERLAY_GATEWAY);
  await once(relay, 'listening');
  return { close: () => relay.close() };
}

/** The same command as the first one's, but for its address and etcd's. */
const commandFor = (cluster: Cluster, address: string): readonly string[] =>
  readFileSync(`/proc/${cluster.controlPlane.processes.apiserver.pid}/cmdline`, 'utf8')
    .split('\0')
    .filter((word) => word !== '')
    .map((word) => {
      if (word.startsWith('--advertise-address=')) return `--advertise-address=${address}`;
      return word.startsWith('--etcd-servers=')
        ? `--etcd-servers=http://${UNDERLAY_GATEWAY}:${ETCD_PORT}`
        : word;
    });

/** Resolves when it is ready and Service "kubernetes" leads to both. */
export async function startNodeApiServer(
  cluster: Cluster,
  node: Cluster['nodes'][number],
): Promise<NodeApiServer> {
  const relay = await relayEtcd();
  const program = node.start('kube-apiserver', commandFor(cluster, node.address));
  const server = `${node.address}:${API_PORT}`;
  // Its certificate names the first one's addresses and the loopback.
  const select = [`--server=https://${server}`, '--tls-server-name=127.0.0.1'];
  const ready = [...cluster.controlPlane.kubectl, ...select, 'get', '--raw', '/readyz'];
  await until(async () => (await tryCommand(ENCLOSURE, ready)).status === 0, {
    what: `the API server on ${node.name} to be ready (its log: ${program.logFile})`,
    boundMs: 120_000,
    intervalMs: 250,
  });
  const endpoints = 'get endpointslices kubernetes --output jsonpath={.endpoints[*].addresses[*]}'.split(' ');
  await until(async () => (await cluster.kubectl(endpoints)).includes(node.address), {
    what: 'Service "kubernetes" to lead to both API servers',
    boundMs: 60_000,
    intervalMs: 250,
  });
  return {
    server,
    select,
    close: async () => {
      await program.stop(20_000);
      relay.close();
    },
  };
}
