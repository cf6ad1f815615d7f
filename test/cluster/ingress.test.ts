// HTTP Ingress over the pod network: HAProxy on one node, routing by host and by path to pods on the other nodes, while they are replaced.
//
//   enclosure ── NodePort of every node ──▶ haproxy on node-1 ──▶ red-…, blue-… on node-2 and node-3
import assert from 'node:assert/strict';
import process from 'node:process';
import { after } from 'node:test';

import { until } from '../lab/condition.ts';
import { enterClusterEnclosure } from './cluster.ts';
import { type HttpAnswer, askLoop, askHttp } from './http-load.ts';
import { HAPROXY_IMAGE } from './images.ts';
import { INGRESS_NODE_PORT, type IngressController, startIngressController } from './ingress-controller.ts';
import { installWeft } from './install.ts';
import { proxyMode } from './node-programs.ts';
import { createClusterSteps } from './steps.ts';
import { PORT, WHO_CONTAINER, apply, podsOf } from './workload.ts';

await enterClusterEnclosure({ moreImages: [HAPROXY_IMAGE] });

const COLOURS = ['red', 'blue'] as const;
const REPLICAS = 4;
const PATH = '/cgi-bin/who';
/** The loop ends when the pods have been replaced; these are its least and its most. */
const LEAST_REQUESTS = 1000;
const MOST_REQUESTS = 50_000;

type Colour = (typeof COLOURS)[number];

let controller: IngressController | undefined;

// Before the cluster goes, whatever happened: hooks run in their order.
after(() => controller?.close());

const { step, say } = createClusterSteps({ nodes: 3, proxyMode: proxyMode(process.env) });

/** Pods that are on other nodes than HAProxy's, end in good order, and are replaced one by one. */
const backends = (colour: Colour, awayFrom: string): readonly object[] => [
  {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: colour },
    spec: {
      replicas: REPLICAS,
      strategy: { rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
      selector: { matchLabels: { app: colour } },
      template: {
        metadata: { labels: { app: colour } },
        spec: {
          terminationGracePeriodSeconds: 10,
          affinity: {
            nodeAffinity: {
              requiredDuringSchedulingIgnoredDuringExecution: {
                nodeSelectorTerms: [
                  {
                    matchExpressions: [
                      { key: 'kubernetes.io/hostname', operator: 'NotIn', values: [awayFrom] },
                    ],
                  },
                ],
              },
            },
          },
          // Goes on answering until whoever balances has heard that it ends.
          containers: [{ ...WHO_CONTAINER, lifecycle: { preStop: { sleep: { seconds: 3 } } } }],
        },
      },
    },
  },
  {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: colour },
    spec: { selector: { app: colour }, ports: [{ port: 80, targetPort: PORT }] },
  },
];

interface IngressPath {
  readonly path: string;
  readonly pathType: 'Exact' | 'Prefix';
  readonly to: Colour;
}

const rule = (host: string, paths: readonly IngressPath[]): object => ({
  host,
  http: {
    paths: paths.map(({ path, pathType, to }) => ({
      path,
      pathType,
      backend: { service: { name: to, port: { number: 80 } } },
    })),
  },
});

const ingress = (rules: readonly object[]): object => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'Ingress',
  metadata: { name: 'colours' },
  spec: { rules },
});

const hostRules = COLOURS.map((colour) =>
  rule(`${colour}.test`, [{ path: '/', pathType: 'Prefix', to: colour }]),
);

const pathRule = (exactTo: Colour): object =>
  rule('paths.test', [
    { path: `${PATH}/red`, pathType: 'Prefix', to: 'red' },
    { path: `${PATH}/blue`, pathType: 'Prefix', to: 'blue' },
    { path: PATH, pathType: 'Exact', to: exactTo },
  ]);

/** What is asked of the Ingress, and who answers. */
const requests: readonly { readonly host: string; readonly path: string; readonly expected: Colour }[] = [
  { host: 'red.test', path: PATH, expected: 'red' },
  { host: 'blue.test', path: PATH, expected: 'blue' },
  { host: 'paths.test', path: `${PATH}/red`, expected: 'red' },
  { host: 'paths.test', path: `${PATH}/blue/1`, expected: 'blue' },
];

const colourOf = ({ body }: HttpAnswer): string => body.split('-')[0] ?? '';

step('kubectl apply, pods of two Deployments, and HAProxy with its controller', async (cluster) => {
  await installWeft(cluster, say);
  const [first] = cluster.nodes;
  assert.ok(first !== undefined);
  await apply(
    cluster,
    COLOURS.flatMap((colour) => backends(colour, first.name)),
  );
  for (const colour of COLOURS) {
    await cluster.kubectl(['rollout', 'status', `deployment/${colour}`, '--timeout=120s']);
  }
  controller = await startIngressController(cluster, first.name);
});

step('HAProxy follows an Ingress: by host and by path, at every node', async (cluster) => {
  for (const { name, address } of cluster.nodes) {
    const asked = { address, port: INGRESS_NODE_PORT, host: 'red.test', path: PATH };
    await until(async () => (await askHttp(asked)).status === 404, {
      what: `HAProxy to answer at ${name}, that there is no Ingress yet`,
    });
  }
  await apply(cluster, [ingress([...hostRules, pathRule('red')])]);
  await until(() => controller?.servers().length === COLOURS.length * REPLICAS, {
    what: 'HAProxy to have the servers',
  });
  for (const { name, address } of cluster.nodes) {
    for (const { host, path, expected } of requests) {
      const names = new Set<string>();
      for (let tries = 0; tries < 2 * REPLICAS; tries++) {
        const answer = await askHttp({ address, port: INGRESS_NODE_PORT, host, path });
        assert.equal(answer.status, 200);
        assert.equal(colourOf(answer), expected, `${host}${path} at ${name}`);
        names.add(answer.body.split(' ')[0] ?? '');
      }
      assert.equal(names.size, REPLICAS, `pods that answer for ${host}${path} at ${name}`);
    }
    const unknown = await askHttp({ address, port: INGRESS_NODE_PORT, host: 'nobody.test', path: PATH });
    assert.equal(unknown.status, 404);
  }
});

step('HAProxy follows a change of the Ingress', async (cluster) => {
  const [first] = cluster.nodes;
  assert.ok(first !== undefined);
  const asked = { address: first.address, port: INGRESS_NODE_PORT, host: 'paths.test', path: PATH };
  assert.equal(colourOf(await askHttp(asked)), 'red');
  await apply(cluster, [ingress([...hostRules, pathRule('blue')])]);
  await until(async () => colourOf(await askHttp(asked)) === 'blue', { what: 'the path to lead to blue' });
});

step(
  'all pods are replaced under requests: none is lost, none is answered by a wrong pod',
  async (cluster, context) => {
    const before = (await Promise.all(COLOURS.map((colour) => podsOf(cluster, colour)))).flat();
    const reloadsBefore = controller?.reloads() ?? 0;
    let replaced = false;
    const load = askLoop({
      requests: requests.map((each, index) => ({
        host: each.host,
        path: each.path,
        expected: each.expected,
        address: cluster.nodes[index % cluster.nodes.length]?.address ?? '',
        port: INGRESS_NODE_PORT,
      })),
      isRight: (answer, { expected }) => answer.status === 200 && colourOf(answer) === expected,
      isDone: (count) => (replaced && count >= LEAST_REQUESTS) || count >= MOST_REQUESTS,
    });
    const start = performance.now();
    await cluster.kubectl(['rollout', 'restart', ...COLOURS.map((colour) => `deployment/${colour}`)]);
    for (const colour of COLOURS) {
      await cluster.kubectl(['rollout', 'status', `deployment/${colour}`, '--timeout=180s']);
    }
    for (const { name } of before)
      await cluster.kubectl(['wait', '--for=delete', `pod/${name}`, '--timeout=60s']);
    const took = ((performance.now() - start) / 1000).toFixed(1);
    replaced = true;
    const { count, wrong } = await load;
    const now = (await Promise.all(COLOURS.map((colour) => podsOf(cluster, colour)))).flat();
    const addresses = now.map(({ address }) => `${address}:${PORT}`).sort();
    await until(() => String(controller?.servers()) === String(addresses), {
      what: 'HAProxy to have the new pods',
    });

    const reloads = (controller?.reloads() ?? 0) - reloadsBefore;
    context.diagnostic(`${before.length} pods replaced in ${took} s, ${reloads} reloads of HAProxy`);
    context.diagnostic(`${count} requests, ${wrong.length} not answered as they should be`);
    assert.ok(count < MOST_REQUESTS, 'the pods were replaced within the bound of requests');
    assert.deepEqual(wrong, []);
  },
);
