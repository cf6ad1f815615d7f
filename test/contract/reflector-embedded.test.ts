// The agent's API client and reflector against the embedded API server, a process of its own that misbehaves on request. Time runs two
// hundred times faster for the reflector, so that its minutes pass; the sockets are real.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { decodeAddressBlock, decodePeer } from '../../proto/api-decode.ts';
import { type AddressBlock, PEERS, type Peer } from '../../proto/api-kinds.ts';
import { type ClusterApi, createClusterApi, resourcePath, userAgent } from '../../agent/kube/api-client.ts';
import { createApiEndpoint } from '../../agent/kube/api-endpoint.ts';
import { isRecord } from '../../agent/kube/api-status.ts';
import type { Clock } from '../../agent/kube/clock.ts';
import { type HttpClient, type JsonRequest, createHttpClient } from '../../agent/kube/http.ts';
import { type Reflector, startReflector } from '../../agent/kube/reflector.ts';
import { createResourceSource } from '../../agent/kube/resource-source.ts';
import { codeOf } from '../../agent/operation-error.ts';
import { randomInt, seededRandom, testSeed } from '../support/random.ts';
import { block, peer } from '../unit/kube-fakes.ts';

const fasterClock = (speed: number): Clock => ({
  now: () => performance.now() * speed,
  setTimer(delayMs, fire) {
    const timer = setTimeout(fire, delayMs / speed);
    return () => clearTimeout(timer);
  },
});

const directory = mkdtempSync(join(tmpdir(), 'weft-reflector-'));
const tokenFile = join(directory, 'token');
writeFileSync(tokenFile, 'not-a-secret-at-all\n');
const program = join(import.meta.dirname, '../../embedded-api/main.ts');
let server: ChildProcess | undefined;
let address = '';
let http: HttpClient;
/** The reflector's: its deadlines pass faster too. */
let fastHttp: HttpClient;
let api: ClusterApi;

/** On TCP, since only there is a reset. Answers the address; `listen` is the one of before, for a restart. */
async function startServer(listen = '127.0.0.1:0'): Promise<string> {
  const child = spawn(
    process.execPath,
    // prettier-ignore
    [program, '--database', join(directory, 'api.db'), '--listen', listen, '--token-file', tokenFile,
     '--enable-faults', '--bookmark-interval-ms', '100'],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  server = child;
  const [line] = (await once(child.stdout, 'data')) as [Buffer]; // as: no encoding is set
  const ready = JSON.parse(String(line)) as { listening: [string] }; // as: our own program wrote it
  return ready.listening[0];
}

async function killServer(): Promise<void> {
  const child = server;
  if (child === undefined || child.exitCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}

before(async () => {
  address = await startServer();
  const endpoint = await createApiEndpoint({
    source: 'test',
    server: address,
    token: { file: tokenFile },
  });
  http = createHttpClient({ endpoint, userAgent: userAgent('0.1.0') });
  fastHttp = createHttpClient({ endpoint, userAgent: userAgent('0.1.0'), clock: fasterClock(20) });
  api = createClusterApi({ http, decodePeer, decodeAddressBlock });
});

after(async () => {
  http.close();
  fastHttp.close();
  await killServer();
  rmSync(directory, { recursive: true, force: true });
});

const ask = (method: JsonRequest['method'], path: string, body?: unknown): Promise<unknown> =>
  http.json({ action: `${method} ${path}`, method, path, ...(body === undefined ? {} : { body }) });

const disturb = (action: string): Promise<unknown> => ask('POST', '/faults/watches', { action });

/** As a client writes it: without what the server sets. */
const wanted = <T extends Peer | AddressBlock>(object: T): T => ({
  ...object,
  metadata: { name: object.metadata.name },
});

const codeFrom = (promise: Promise<unknown>): Promise<string> => promise.then(() => 'OK', codeOf);

async function until(
  condition: () => boolean | Promise<boolean>,
  what: () => string = () => '',
): Promise<void> {
  for (let turn = 0; !(await condition()); turn++) {
    assert.ok(turn < 2000, `waited too long: ${what()}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

interface Rig {
  readonly objects: Map<string, Peer>;
  readonly reflector: Reflector;
  readonly stale: string[];
}

function follow(t: { after(run: () => void): void }, random: () => number = Math.random): Rig {
  const objects = new Map<string, Peer>();
  const stale: string[] = [];
  const reflector = startReflector({
    source: createResourceSource({ http: fastHttp, path: resourcePath(PEERS), plural: PEERS }),
    decode: decodePeer,
    clock: fasterClock(200),
    random,
    events: {
      synced(all) {
        objects.clear();
        for (const [name, object] of all) objects.set(name, object);
      },
      changed(name, object) {
        if (object === undefined) objects.delete(name);
        else objects.set(name, object);
      },
      stale: (reason) => stale.push(reason),
    },
  });
  t.after(() => reflector.stop());
  return { objects, reflector, stale };
}

async function truth(): Promise<Map<string, Peer>> {
  const list = await ask('GET', resourcePath(PEERS));
  assert.ok(isRecord(list) && Array.isArray(list['items']));
  return new Map(list['items'].map((item: Peer) => [item.metadata.name, item]));
}

const versions = (objects: ReadonlyMap<string, Peer>): string =>
  [...objects]
    .map(([name, { metadata }]) => `${name}@${metadata.resourceVersion}`)
    .toSorted()
    .join(' ');

const agree = ({ objects, reflector }: Rig): Promise<void> =>
  until(
    async () => versions(objects) === versions(await truth()),
    () => JSON.stringify({ ours: versions(objects), state: reflector.state() }),
  );

async function removeAll(): Promise<void> {
  for (const name of (await truth()).keys()) await ask('DELETE', `${resourcePath(PEERS)}/${name}`);
}

test('ClusterApi creates, replaces, claims and gives back, and answers the code of each refusal', async () => {
  await ask('POST', '/api/v1/nodes', { apiVersion: 'v1', kind: 'Node', metadata: { name: 'node-1' } });
  const { uid } = await api.getNode('node-1');
  assert.match(uid, /^[0-9a-f-]{36}$/);
  assert.equal(await codeFrom(api.getNode('node-2')), 'NOT_FOUND');
  const created = await api.createPeer(wanted(peer('node-1')));
  assert.ok(created.metadata.resourceVersion);
  assert.equal(await codeFrom(api.createPeer(wanted(peer('node-1')))), 'ALREADY_EXISTS');
  const replaced = await api.replacePeer({ ...created, spec: { ...created.spec, port: 7000 } });
  assert.equal((await api.getPeer('node-1')).spec.port, 7000);
  assert.equal(await codeFrom(api.replacePeer(created)), 'CONFLICT');
  assert.equal(
    await codeFrom(api.replacePeer({ ...replaced, spec: { ...replaced.spec, port: 70_000 } })),
    'INVALID',
  );
  assert.equal(await codeFrom(api.replacePeer(wanted(peer('nobody')))), 'NOT_FOUND');

  const claimed = await api.createBlock(wanted(block('10.32.0.0/26', 'node-1')));
  assert.equal(await codeFrom(api.createBlock(wanted(block('10.32.0.0/26', 'node-2')))), 'ALREADY_EXISTS');
  assert.equal((await api.getBlock('10.32.0.0-26')).spec.node, 'node-1');
  assert.equal(await codeFrom(api.deleteBlock('10.32.0.0-26', { uid: 'another' })), 'CONFLICT');
  await api.deleteBlock('10.32.0.0-26', {
    uid: claimed.metadata.uid!,
    resourceVersion: claimed.metadata.resourceVersion!,
  });
  assert.equal(await codeFrom(api.deleteBlock('10.32.0.0-26', {})), 'NOT_FOUND');

  const event = { node: { name: 'node-1', uid }, type: 'Normal', reason: 'Tried' } as const;
  for (const message of ['it works', 'it works', 'it works', 'it works still']) {
    await api.createEvent({ ...event, message });
  }
  const { items } = (await ask('GET', '/api/v1/events')) as {
    items: { reason: string; message: string; count: number }[]; // as: compared with what was created
  };
  assert.deepEqual(
    items
      .filter(({ reason }) => reason === 'Tried')
      .map(({ message, count }) => `${message}: ${count}`)
      .sort(),
    ['it works still: 1', 'it works: 3'],
    'the same again counts up, it is no other object',
  );
  await removeAll();
});

for (const [code, wantedCode] of [
  [403, 'FORBIDDEN'],
  [409, 'CONFLICT'],
  [410, 'GONE'],
  [429, 'THROTTLED'],
  [500, 'UNAVAILABLE'],
] as const) {
  test(`ClusterApi answers ${wantedCode} to ${code}`, async () => {
    await ask('PUT', '/faults', [{ action: 'respond', code, resource: 'peers.weft.dev' }]);
    const answer = await codeFrom(api.getPeer('x'));
    await ask('DELETE', '/faults');
    assert.equal(answer, wantedCode);
  });
}

for (const action of ['stall', 'reset', 'end', 'expire'] as const) {
  test(`reflector catches up after its watch meets "${action}"`, async (t) => {
    const it = follow(t);
    await until(() => it.reflector.state().phase === 'watching');
    await api.createPeer(wanted(peer(`before-${action}`)));
    await agree(it);
    await disturb(action);
    await api.createPeer(wanted(peer(`after-${action}`)));
    await ask('DELETE', `${resourcePath(PEERS)}/before-${action}`);
    await agree(it);
    await removeAll();
  });
}

test('reflector outlives a server that is killed, and one that is away', async (t) => {
  const it = follow(t);
  await api.createPeer(wanted(peer('a')));
  await agree(it);
  await killServer();
  await until(() => it.reflector.state().lastError !== undefined);
  assert.ok(it.objects.has('a'));
  await startServer(new URL(address).host);
  await api.createPeer(wanted(peer('b')));
  await agree(it);
  await removeAll();
});

test('reflector ignores stale lists of the server', async (t) => {
  const it = follow(t);
  for (const name of ['a', 'b', 'c']) await api.createPeer(wanted(peer(name)));
  await agree(it);
  await ask('PUT', '/faults', [{ action: 'stale-list', versionsBack: 2, count: 2 }]);
  await disturb('expire');
  await until(
    () => it.stale.length > 0,
    () => JSON.stringify(it.reflector.state()),
  );
  assert.equal(it.objects.size, 3);
  await ask('DELETE', '/faults');
  await agree(it);
  await removeAll();
});

test('reflector finds in time what a dropped event hid', async (t) => {
  const it = follow(t);
  await until(() => it.reflector.state().phase === 'watching');
  await ask('PUT', '/faults', [{ action: 'drop-event' }]);
  await api.createPeer(wanted(peer('hidden')));
  await agree(it);
  await removeAll();
});

test('reflector equals the server after random writes and faults', async (t) => {
  const seed = testSeed();
  t.diagnostic(`WEFT_TEST_SEED=${seed}`);
  const random = seededRandom(seed);
  const pick = <T>(values: readonly T[]): T => values[randomInt(random, values.length)]!; // !: never empty
  const it = follow(t, random);
  await until(() => it.reflector.state().synced);
  for (let step = 0; step < 150; step++) {
    const name = `peer-${randomInt(random, 10)}`;
    const kind = random();
    if (kind < 0.4) await codeFrom(api.createPeer(wanted(peer(name))));
    else if (kind < 0.6) {
      await codeFrom(
        api
          .getPeer(name)
          .then((held) =>
            api.replacePeer({ ...held, spec: { ...held.spec, port: 1 + randomInt(random, 60_000) } }),
          ),
      );
    } else if (kind < 0.8) await codeFrom(ask('DELETE', `${resourcePath(PEERS)}/${name}`));
    else if (kind < 0.9) await disturb(pick(['stall', 'reset', 'end', 'expire', 'bookmark']));
    else if (kind < 0.93) await ask('POST', '/faults/compact');
    else {
      const action = pick(['respond', 'respond', 'stall', 'reset', 'stale-list', 'drop-event']);
      const rule = { verb: pick(['list', 'watch']), code: pick([410, 429, 500, 504]), action };
      await ask('PUT', '/faults', [{ ...rule, resource: 'peers.weft.dev' }]);
    }
  }
  await ask('DELETE', '/faults');
  await agree(it);
});
