// A small Ingress controller: HAProxy in a pod, whose configuration follows the cluster's Ingress and EndpointSlice objects. It runs in the
// test's program; it watches with kubectl, and reloads HAProxy by kubectl exec. One change at a time; changes meanwhile become one.
import type { Cluster } from './cluster.ts';
import {
  type EndpointSlice,
  HTTP_PORT,
  type Ingress,
  VERSION_PORT,
  haproxyConfiguration,
  versionFrontend,
} from './haproxy-configuration.ts';
import { HAPROXY_IMAGE } from './images.ts';
import { watchObjects } from './kubectl-watch.ts';
import { apply } from './workload.ts';

const HAPROXY = 'haproxy';
export const INGRESS_NODE_PORT = 30_100;

const labels = { app: HAPROXY };

const START = `cat >/etc/haproxy/haproxy.cfg <<'END'
${haproxyConfiguration([], [])}${versionFrontend('0')}END
exec haproxy -W -db -f /etc/haproxy/haproxy.cfg`;

/** Waits until the new worker answers: $1 is the version of the configuration on the input. */
const RELOAD = `cat >/etc/haproxy/next.cfg
haproxy -c -q -f /etc/haproxy/next.cfg
mv /etc/haproxy/next.cfg /etc/haproxy/haproxy.cfg
kill -USR2 1
for try in $(seq 200); do
  [ "$(wget -qO- http://127.0.0.1:${VERSION_PORT}/)" != "$1" ] || exit 0
  sleep 0.05
done
echo "HAProxy does not answer with configuration $1" >&2
exit 1`;

const manifest = (node: string): readonly object[] => [
  {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: HAPROXY },
    spec: {
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          nodeSelector: { 'kubernetes.io/hostname': node },
          terminationGracePeriodSeconds: 1,
          containers: [
            {
              name: HAPROXY,
              image: HAPROXY_IMAGE,
              imagePullPolicy: 'Never',
              command: ['sh', '-ec', START],
              readinessProbe: { httpGet: { path: '/', port: VERSION_PORT }, periodSeconds: 1 },
            },
          ],
        },
      },
    },
  },
  {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: HAPROXY },
    spec: {
      type: 'NodePort',
      selector: labels,
      ports: [{ port: 80, targetPort: HTTP_PORT, nodePort: INGRESS_NODE_PORT }],
    },
  },
];

export interface IngressController {
  /** How often HAProxy got another configuration. */
  readonly reloads: () => number;
  /** Addresses (with ports) of the servers that HAProxy has. Throws what went wrong. */
  readonly servers: () => readonly string[];
  readonly close: () => Promise<void>;
}

/** Resolves when HAProxy runs, on one node, and is reached at INGRESS_NODE_PORT of every node. */
export async function startIngressController(cluster: Cluster, node: string): Promise<IngressController> {
  await apply(cluster, manifest(node));
  await cluster.kubectl(['rollout', 'status', `deployment/${HAPROXY}`, '--timeout=120s']);

  let inForce = '';
  let reloads = 0;
  let failure: unknown;
  let working: Promise<void> | undefined;

  const follow = async (): Promise<void> => {
    for (;;) {
      const wanted = haproxyConfiguration(ingresses.objects(), slices.objects());
      if (wanted === inForce) return;
      const version = String(reloads + 1);
      const words = [
        'exec',
        '--stdin',
        `deployment/${HAPROXY}`,
        '--',
        'sh',
        '-ec',
        RELOAD,
        'reload',
        version,
      ];
      await cluster.kubectl(words, { stdin: wanted + versionFrontend(version) });
      inForce = wanted;
      reloads++;
    }
  };
  const changed = (): void => {
    working ??= follow()
      .catch((error: unknown) => (failure ??= error))
      .then(() => (working = undefined));
  };
  const ingresses = watchObjects<Ingress>(cluster, { kind: 'ingresses', changed });
  const slices = watchObjects<EndpointSlice>(cluster, { kind: 'endpointslices', changed });

  return {
    reloads: () => reloads,
    servers: () => {
      if (failure !== undefined) throw failure;
      return [...inForce.matchAll(/^ {2}server \S+ (\S+)$/gm)].map(([, server = '']) => server).sort();
    },
    close: async () => {
      ingresses.close();
      slices.close();
      await working;
    },
  };
}
