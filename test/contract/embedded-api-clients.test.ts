// The embedded API server as real clients see it: @kubernetes/client-node, and kubectl where it is on PATH.
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';

import { ApiException, CoreV1Api, CustomObjectsApi, KubeConfig, Watch } from '@kubernetes/client-node';

import { createServerCertificate, formatKubeconfig } from '../../embedded-api/certificate.ts';
import { type Loose, TOKEN, type TestServer, ownedBy, peer, startServer } from './embedded-api-server.ts';

const directory = mkdtempSync(join(tmpdir(), 'weft-embedded-api-clients-'));
const kubeconfig = join(directory, 'kubeconfig');
let server: TestServer;

before(async () => {
  const { certFile, keyFile, caFile } = await createServerCertificate({
    directory: join(directory, 'pki'),
    addresses: [],
  });
  server = await startServer({ arguments: ['--tls-cert', certFile, '--tls-key', keyFile] });
  writeFileSync(kubeconfig, await formatKubeconfig({ server: server.address, token: TOKEN, caFile }));
});
after(async () => {
  await server.close();
  rmSync(directory, { recursive: true, force: true });
});

describe('@kubernetes/client-node', () => {
  const config = new KubeConfig();
  before(() => config.loadFromString(readFileSync(kubeconfig, 'utf8')));
  const kind = { group: 'weft.dev', version: 'v1alpha1', plural: 'peers' };

  test('creates, reads, lists, replaces, patches and deletes', async () => {
    const objects = config.makeApiClient(CustomObjectsApi);
    const made: Loose = await objects.createClusterCustomObject({ ...kind, body: peer('library') });
    assert.equal(made.spec.port, 6784);
    await assert.rejects(
      objects.createClusterCustomObject({ ...kind, body: peer('library') }),
      (error) => error instanceof ApiException && error.code === 409,
    );
    const name = 'library';
    const body = { ...made, spec: { ...made.spec, port: 1 } };
    const replaced: Loose = await objects.replaceClusterCustomObject({ ...kind, name, body });
    assert.equal(replaced.metadata.generation, 2);
    await assert.rejects(
      objects.replaceClusterCustomObject({ ...kind, name, body }),
      (error) => error instanceof ApiException && error.code === 409,
    );
    const operations = [{ op: 'replace', path: '/spec/port', value: 2 }];
    const patched: Loose = await objects.patchClusterCustomObject({ ...kind, name, body: operations });
    assert.equal(patched.spec.port, 2);
    const list: Loose = await objects.listClusterCustomObject({ ...kind, limit: 10 });
    assert.equal(list.items.length, 1);
    await objects.deleteClusterCustomObject({ ...kind, name });
    await assert.rejects(
      objects.getClusterCustomObject({ ...kind, name }),
      (error) => error instanceof ApiException && error.code === 404,
    );
  });

  test('watches', async () => {
    const core = config.makeApiClient(CoreV1Api);
    const { metadata } = await core.listNode();
    const { promise, resolve } = Promise.withResolvers<string>();
    const options = { resourceVersion: metadata?.resourceVersion ?? '', allowWatchBookmarks: true };
    const controller = await new Watch(config).watch(
      '/api/v1/nodes',
      options,
      (type: string, object: Loose) => resolve(`${type} ${object.metadata.name}`),
      () => undefined,
    );
    await core.createNode({ body: { metadata: { name: 'watched' } } });
    assert.equal(await promise, 'ADDED watched');
    controller.abort();
    await core.deleteNode({ name: 'watched' });
  });

  test('creates an event', async () => {
    const core = config.makeApiClient(CoreV1Api);
    const involvedObject = { kind: 'Node', name: 'n' };
    const event = await core.createNamespacedEvent({
      namespace: 'default',
      body: { metadata: { generateName: 'n.' }, involvedObject, reason: 'Test', type: 'Normal' },
    });
    assert.match(event.metadata.name ?? '', /^n\./);
  });
});

const run = promisify(execFile);
const hasKubectl = await run('kubectl', ['version', '--client']).then(
  () => true,
  () => false,
);

describe('kubectl', { skip: hasKubectl ? false : 'kubectl is not on PATH' }, () => {
  const home = { ...process.env, HOME: directory }; // its discovery cache
  const common = (): string[] => ['--kubeconfig', kubeconfig];

  async function kubectl(...arguments_: readonly string[]): Promise<string> {
    const { stdout } = await run('kubectl', [...common(), ...arguments_], { env: home });
    return stdout;
  }
  const refusal = async (...arguments_: readonly string[]): Promise<string> => {
    try {
      await kubectl(...arguments_);
    } catch (error) {
      return (error as { stderr: string }).stderr; // as: what execFile rejects with
    }
    throw new Error(`kubectl ${arguments_.join(' ')} was not refused`);
  };
  function manifest(name: string, objects: readonly Loose[]): string {
    const file = join(directory, `${name}.json`);
    writeFileSync(file, JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }));
    return file;
  }
  /** The cells of a table, without its head. */
  const cells = (table: string): string[][] =>
    table
      .trim()
      .split('\n')
      .slice(1)
      .map((line) => line.split(/\s+/));

  test('api-resources names our kinds with their short names', async () => {
    const table = await kubectl('api-resources', '--no-headers');
    assert.match(table, /^peers +wp +weft\.dev\/v1alpha1 +false +Peer$/m);
    assert.match(table, /^addressblocks +wb +weft\.dev\/v1alpha1 +false +AddressBlock$/m);
  });

  test('explain describes a field', async () => {
    assert.match(await kubectl('explain', 'peer.spec.port'), /UDP port on which the node receives VXLAN/);
  });

  test('apply creates, changes and leaves alone; get shows it in each form', async () => {
    const file = manifest('peer', [peer('k1')]);
    assert.equal(await kubectl('apply', '-f', file), 'peer.weft.dev/k1 created\n');
    assert.equal(await kubectl('apply', '-f', file), 'peer.weft.dev/k1 unchanged\n');
    assert.equal(
      await kubectl('apply', '-f', manifest('peer', [peer('k1', { port: 7000 })])),
      'peer.weft.dev/k1 configured\n',
    );
    const [row] = cells(await kubectl('get', 'peers'));
    assert.deepEqual(row?.slice(0, 5), ['k1', '192.0.2.1', '7000', '0e:00:5e:00:53:01', '0.1.0']);
    const wide = await kubectl('get', 'wp', '-o', 'wide');
    assert.match(wide, /^NAME +ADDRESS +PORT +MAC +VERSION +AGE +NODE UID +FEATURES$/m);
    assert.match(wide, / uid-of-k1 +\["probe"\]$/m);
    assert.match(await kubectl('get', 'peer', 'k1', '-o', 'yaml'), /^ {2}port: 7000$/m);
    assert.match(await kubectl('describe', 'peer', 'k1'), /^ {2}Port: +7000$/m);
  });

  test('refusals read as the real server’s', async () => {
    const bad = manifest('bad', [peer('k2', { port: 0 })]);
    assert.match(
      await refusal('create', '-f', bad),
      /^The Peer "k2" is invalid: spec\.port: Invalid value: 0: spec\.port in body should be/,
    );
    assert.match(
      await refusal('get', 'peer', 'absent'),
      /^Error from server \(NotFound\): peers\.weft\.dev "absent" not found/,
    );
    assert.match(
      await refusal('create', '-f', manifest('again', [peer('k1')])),
      /\(AlreadyExists\).*peers\.weft\.dev "k1" already exists/,
    );
  });

  test('patch, label and annotate', async () => {
    await kubectl('patch', 'peer', 'k1', '--type=merge', '-p', '{"spec":{"port":8000}}');
    await kubectl(
      'patch',
      'peer',
      'k1',
      '--type=json',
      '-p',
      '[{"op":"replace","path":"/spec/version","value":"2"}]',
    );
    await kubectl('label', 'peer', 'k1', 'zone=a');
    await kubectl('annotate', 'peer', 'k1', 'note=b');
    assert.equal(
      await kubectl('get', 'peer', '-l', 'zone=a', '-o', 'jsonpath={.items[*].spec.port}'),
      '8000',
    );
  });

  test('get -w shows changes as they come', async () => {
    const watch: ChildProcess = spawn('kubectl', [...common(), 'get', 'peers', '-w', '--no-headers'], {
      env: home,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const lines = createInterface({ input: watch.stdout! })[Symbol.asyncIterator](); // !: piped
    assert.match(String((await lines.next()).value), /^k1 /);
    await kubectl('patch', 'peer', 'k1', '--type=merge', '-p', '{"spec":{"port":9000}}');
    assert.match(String((await lines.next()).value), /^k1 .* 9000 /);
    watch.kill();
    await once(watch, 'close');
  });

  test('delete node takes its peer and blocks along', async () => {
    await kubectl(
      'apply',
      '-f',
      manifest('node', [{ apiVersion: 'v1', kind: 'Node', metadata: { name: 'k3' } }]),
    );
    const uid = await kubectl('get', 'node', 'k3', '-o', 'jsonpath={.metadata.uid}');
    const metadata = { name: 'k3', ownerReferences: [ownedBy('Node', 'k3', uid)] };
    await kubectl('create', '-f', manifest('owned', [{ ...peer('k3'), metadata }]));
    assert.equal(cells(await kubectl('get', 'nodes')).length, 1);
    await kubectl('delete', 'node', 'k3');
    assert.match(await refusal('get', 'peer', 'k3'), /NotFound/);
  });

  test('server-side apply merges', async () => {
    const file = manifest('side', [peer('k4')]);
    assert.equal(
      await kubectl('apply', '--server-side', '-f', file),
      'peer.weft.dev/k4 serverside-applied\n',
    );
  });

  test('delete --all, and waits until it is done', async () => {
    await kubectl('delete', 'peers', '--all');
    assert.equal(await kubectl('get', 'peers'), '');
  });
});
