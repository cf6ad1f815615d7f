import assert from 'node:assert/strict';
import { get } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { test } from 'node:test';

import type { NodeReport } from '../../proto/node-report.ts';
import type { MapFacts } from '../../agent/control/map/map-form.ts';
import { openStatusServer } from '../../agent/control/status/status-server.ts';
import { createMapRig } from '../support/map-rig.ts';
import { ipamReport, nodeReport } from '../support/node-report.ts';

const host = '127.0.0.1';
const mapOfOne = (): MapFacts => createMapRig({ names: ['node-b'], seed: 1 }).facts();

async function withServer(
  facts: () => NodeReport,
  body: (urls: { status: string; metrics: string; failures: string[] }) => Promise<void>,
  notReady: () => readonly string[] = () => [],
): Promise<void> {
  const failures: string[] = [];
  const server = await openStatusServer({
    source: {
      facts,
      notReady,
      ipam: () => ipamReport,
      metrics: async () => ({ contentType: 'text/plain; version=0.0.4', text: 'weave_max_ips 1\n' }),
      map: mapOfOne,
    },
    status: { host, port: 0 },
    metrics: { host, port: 0 },
    failed: (path) => failures.push(path),
  });
  try {
    await body({
      status: `http://${host}:${server.statusPort}`,
      metrics: `http://${host}:${server.metricsPort}`,
      failures,
    });
  } finally {
    await server.close();
  }
}

test('status server: every page, and readiness by status code', async () => {
  let facts: NodeReport = nodeReport;
  await withServer(
    () => facts,
    async ({ status, metrics }) => {
      for (const path of [
        '/status',
        '/status/peers',
        '/status/connections',
        '/status/ipam',
        '/healthz',
        '/readyz',
      ]) {
        const response = await fetch(status + path);
        assert.equal(response.status, 200, path);
        assert.equal(response.headers.get('content-type'), 'text/plain; charset=utf-8');
        assert.notEqual(await response.text(), '');
      }
      const report: unknown = await (await fetch(`${status}/report?format=json`)).json();
      assert.deepEqual(report, JSON.parse(JSON.stringify(nodeReport)));
      const scraped = await fetch(`${metrics}/metrics`);
      assert.equal(scraped.headers.get('content-type'), 'text/plain; version=0.0.4');
      assert.equal(await scraped.text(), 'weave_max_ips 1\n');
      // What the one address tells, the other does not.
      assert.equal((await fetch(`${metrics}/status`)).status, 404);
      assert.equal((await fetch(`${status}/metrics`)).status, 404);

      facts = { ...nodeReport, notReady: ['no address block yet'] };
      assert.equal((await fetch(`${status}/status`)).status, 503);
      assert.equal((await fetch(`${status}/healthz`)).status, 200);
    },
  );
});

test('status server: readiness takes no report, which a node with many peers makes for long', async () => {
  let notReady: readonly string[] = [];
  await withServer(
    () => assert.fail('no report'),
    async ({ status, failures }) => {
      const ready = async (): Promise<readonly [number, string]> => {
        const response = await fetch(`${status}/readyz`);
        return [response.status, await response.text()];
      };
      assert.deepEqual(await ready(), [200, 'ok\n']);
      notReady = ['no address block yet', 'the range overlaps'];
      assert.deepEqual(await ready(), [503, 'no address block yet\nthe range overlaps\n']);
      assert.deepEqual(failures, []);
    },
    () => notReady,
  );
});

test('status server: reads only', async () => {
  await withServer(
    () => nodeReport,
    async ({ status }) => {
      for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']) {
        const response = await fetch(`${status}/status`, { method });
        assert.equal(response.status, 405, method);
        assert.equal(response.headers.get('allow'), 'GET, HEAD');
      }
      const head = await fetch(`${status}/status`, { method: 'HEAD' });
      assert.equal(head.status, 200);
      assert.ok(Number(head.headers.get('content-length')) > 100);
      assert.equal(await head.text(), '');
    },
  );
});

test('status server: a page that cannot be made is a 500 and is told', async () => {
  await withServer(
    () => {
      throw new Error('broken');
    },
    async ({ status, failures }) => {
      const response = await fetch(`${status}/status`);
      assert.equal(response.status, 500);
      assert.ok(!(await response.text()).includes('broken'));
      assert.deepEqual(failures, ['/status']);
    },
  );
});

test('openStatusServer: an address in use is one clear error, and nothing stays open', async () => {
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, host, resolve));
  const { port } = other.address() as AddressInfo; // as: it listens on TCP
  await assert.rejects(
    openStatusServer({
      source: {
        facts: () => nodeReport,
        notReady: () => [],
        ipam: () => ipamReport,
        metrics: async () => ({ contentType: '', text: '' }),
        map: mapOfOne,
      },
      status: { host, port: 0 },
      metrics: { host, port },
      failed: () => undefined,
    }),
    {
      code: 'EADDRINUSE',
      message: new RegExp(`Cannot listen on 127\\.0\\.0\\.1:${port} \\(EADDRINUSE\\); stop`),
    },
  );
  await new Promise((resolve) => other.close(resolve));
});

/** The status code for a request that calls the server by another name. */
const statusAs = (url: string, name: string): Promise<number | undefined> =>
  new Promise((resolve, reject) => {
    get(url, { headers: { host: name } }, (response) => {
      response.resume();
      resolve(response.statusCode);
    }).on('error', reject);
  });

test('status server: the live map and what it loads, each with a policy that lets nothing else in', async () => {
  await withServer(
    () => nodeReport,
    async ({ status }) => {
      const html = await (await fetch(`${status}/map`)).text();
      const loaded = [...html.matchAll(/(?:href|src)="(map\/[^"]+)"/g)].map((match) => match[1] ?? '');
      assert.ok(loaded.length >= 4);
      for (const path of ['map', 'map/facts', ...loaded]) {
        const response = await fetch(`${status}/${path}`);
        assert.equal(response.status, 200, path);
        const policy = response.headers.get('content-security-policy') ?? '';
        assert.match(policy, /^default-src 'none'; script-src 'self';/);
        assert.doesNotMatch(policy, /unsafe|\*|https?:/);
        assert.equal(response.headers.get('x-content-type-options'), 'nosniff');
        assert.equal(response.headers.get('access-control-allow-origin'), null);
      }
      const facts = (await (await fetch(`${status}/map/facts`)).json()) as MapFacts; // as: our own answer
      assert.deepEqual(
        facts.peers.map(([name]) => name),
        ['node-b'],
      );
      for (const path of [
        'map/',
        'map/tsconfig.json',
        'map/../status',
        'map/..%2fmap-routes.ts',
        'map/constructor',
      ]) {
        const response = await fetch(`${status}/${path}`);
        assert.ok(response.status === 404 || response.url === `${status}/status`, path);
      }
    },
  );
});

test('status server: by a name that others can own nothing is answered; metrics are', async () => {
  await withServer(
    () => nodeReport,
    async ({ status, metrics }) => {
      for (const path of ['/map', '/map/facts', '/status', '/report', '/readyz']) {
        assert.equal(await statusAs(status + path, 'rebound.example:6784'), 421, path);
        assert.equal(await statusAs(status + path, 'localhost:40123'), 200, path);
        assert.equal(await statusAs(status + path, '127.0.0.1'), 200, path);
      }
      assert.equal(await statusAs(`${metrics}/metrics`, 'node-1.example:6782'), 200);
    },
  );
});
