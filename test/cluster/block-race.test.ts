// 64 agents' claim logic and API client against the real API server, for 16 blocks, 50 times. Topology: a control plane, and Nodes that are
// objects only. The same a thousand times against the embedded API server: test/contract/block-race.test.ts.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as pause } from 'node:timers/promises';

import type { NodeIdentity } from '../../agent/control/blocks/own-blocks.ts';
import { createClusterApi, resourcePath, userAgent } from '../../agent/kube/api-client.ts';
import { openClusterEndpoint } from '../../agent/kube/endpoint-config.ts';
import { createHttpClient } from '../../agent/kube/http.ts';
import { parseCidr } from '../../proto/address-text.ts';
import { decodeAddressBlock, decodePeer } from '../../proto/api-decode.ts';
import { ADDRESS_BLOCKS } from '../../proto/api-kinds.ts';
import { until } from '../lab/condition.ts';
import { stateIdOf, type Blocks, type RaceResult, listBlocks, raceForBlocks } from '../support/block-race.ts';
import { seededRandom, testSeed } from '../support/random.ts';
import { type Cluster, enterClusterEnclosure } from './cluster.ts';
import { proxyMode } from './node-programs.ts';
import { createClusterSteps } from './steps.ts';
import { get } from './weft-objects.ts';

await enterClusterEnclosure();

const ROUNDS = 50;
const AGENTS = 64;
/** As long as a watch may be behind. */
const LAG_MS = 20;
const range = parseCidr('10.32.0.0/22');
const MANIFEST = join(import.meta.dirname, '../../manifests/weft.yaml');

const { step } = createClusterSteps({ nodes: 0, proxyMode: proxyMode(process.env) });

let nodes: readonly NodeIdentity[] = [];

async function createNodes(cluster: Cluster): Promise<readonly NodeIdentity[]> {
  const items = Array.from({ length: AGENTS }, (_, at) => ({
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: `racer-${at}` },
  }));
  const stdin = JSON.stringify({ apiVersion: 'v1', kind: 'List', items });
  await cluster.kubectl(['create', '--filename', '-'], { stdin });
  const created = await get<{ metadata: NodeIdentity }>(cluster, 'nodes');
  return created.map(({ metadata: { name, uid } }) => ({ name, uid, stateId: stateIdOf(name) }));
}

step('the kinds are served, and there are Nodes', async (cluster) => {
  const documents = readFileSync(MANIFEST, 'utf8').split(/^---$/m);
  const kinds = documents.filter((document) => /^kind: CustomResourceDefinition$/m.test(document));
  assert.equal(kinds.length, 2);
  await cluster.kubectl(['apply', '--filename', '-'], { stdin: kinds.join('---') });
  await cluster.kubectl(['wait', '--for=condition=established', 'crd', '--all', '--timeout=60s']);
  // Established is before the first answer: until then it is 429.
  const path = ['get', '--raw', resourcePath(ADDRESS_BLOCKS)];
  await until(async () => (await cluster.tryKubectl(path)) !== undefined, { what: 'blocks to be served' });
  nodes = await createNodes(cluster);
  assert.equal(nodes.length, AGENTS);
});

step(
  `${AGENTS} agents race for 16 blocks, ${ROUNDS} times: every block has exactly one owner`,
  async (cluster, t) => {
    const seed = testSeed();
    t.diagnostic(`WEFT_TEST_SEED=${seed}`);
    const random = seededRandom(seed); // the network's order is not of the seed
    const environment = { KUBECONFIG: cluster.controlPlane.authority.file('admin.kubeconfig') };
    const endpoint = await openClusterEndpoint({ environment });
    const clients = nodes.map(() => createHttpClient({ endpoint, userAgent: userAgent('0.1.0') }));
    const apis = new Map(
      nodes.map(({ name }, at) => [
        name,
        createClusterApi({ http: clients[at]!, decodePeer, decodeAddressBlock }), // !: one for each
      ]),
    );
    const watcher = createHttpClient({ endpoint, userAgent: userAgent('0.1.0') });
    let heard: { at: number; blocks: Promise<Blocks> } | undefined;
    const results: RaceResult[] = [];
    const start = performance.now();
    for (let round = 0; round < ROUNDS; round++) {
      heard = undefined;
      const result = await raceForBlocks(
        {
          random,
          now: () => performance.now(),
          pause,
          connect: ({ name }) => apis.get(name) ?? assert.fail(name),
          list: () => listBlocks(watcher),
          hear: () => {
            const now = performance.now();
            if (heard === undefined || now - heard.at > LAG_MS)
              heard = { at: now, blocks: listBlocks(watcher) };
            return heard.blocks;
          },
        },
        { nodes, range, blockPrefixLength: 26 },
      );
      results.push(result);
      await cluster.kubectl(['annotate', 'addressblocks', '--all', 'weft.dev/force-delete=true']);
      await cluster.kubectl(['delete', 'addressblocks', '--all', '--wait=false']);
      assert.equal((await listBlocks(watcher)).size, 0);
    }
    const mean = (of: (result: RaceResult) => number): string =>
      (results.reduce((sum, result) => sum + of(result), 0) / results.length).toFixed(1);
    t.diagnostic(
      `${results.length} rounds in ${((performance.now() - start) / 1000).toFixed(1)} s, ${mean(({ creates }) => creates)} requests and ${mean(({ owners }) => owners)} owners a round`,
    );
    for (const client of [...clients, watcher]) client.close();
  },
);
