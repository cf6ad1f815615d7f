// The embedded API server as a program: what it refuses to start with, TLS and unix sockets, signals, what a restart keeps.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';

import { createServerCertificate } from '../../embedded-api/certificate.ts';
import {
  BLOCKS,
  NODES,
  PEERS,
  TOKEN,
  block,
  ownedBy,
  peer,
  runMain,
  startServer,
} from './embedded-api-server.ts';

const directory = mkdtempSync(join(tmpdir(), 'weft-embedded-api-process-'));
after(() => rmSync(directory, { recursive: true, force: true }));
const tokenFile = join(directory, 'token');
writeFileSync(tokenFile, TOKEN);
const shortFile = join(directory, 'short');
writeFileSync(shortFile, 'short');

describe('refuses to start, with one sentence', () => {
  const base = ['--database', ':memory:'];
  const token = ['--token-file', tokenFile];
  for (const [title, arguments_, message] of [
    ['no database', ['--listen', '127.0.0.1:0', ...token], /--database/],
    ['nowhere to listen', [...base, ...token], /--listen/],
    ['TCP without a token', [...base, '--listen', '127.0.0.1:0'], /needs --token-file/],
    [
      'every address without TLS',
      [...base, ...token, '--listen', '0.0.0.0:0'],
      /0\.0\.0\.0:0 needs --tls-cert and --tls-key/,
    ],
    ['an IPv6 address without TLS', [...base, ...token, '--listen', '[::]:0'], /\[::\]:0 needs --tls-cert/],
    [
      'half of TLS',
      [...base, ...token, '--listen', '127.0.0.1:0', '--tls-cert', tokenFile],
      /both --tls-cert and --tls-key/,
    ],
    ['a name to listen on', [...base, ...token, '--listen', 'example.org:80'], /must be ADDRESS:PORT/],
    ['a relative socket path', [...base, '--listen', 'unix:x'], /absolute path/],
    ['an option that is none', [...base, '--nonsense'], /Unknown option '--nonsense'/],
    ['a history of nothing', [...base, ...token, '--listen', '127.0.0.1:0', '--history', '0'], /--history/],
    [
      'no token file',
      [...base, '--listen', '127.0.0.1:0', '--token-file', '/absent'],
      /Cannot read --token-file "\/absent": ENOENT/,
    ],
    [
      'a short token',
      [...base, '--listen', '127.0.0.1:0', '--token-file', shortFile],
      /at least 16 characters/,
    ],
    [
      'a database in no directory',
      ['--database', '/absent/x', ...token, '--listen', '127.0.0.1:0'],
      /Cannot open the database "\/absent\/x"/,
    ],
    [
      'a database that is none',
      ['--database', tokenFile, ...token, '--listen', '127.0.0.1:0'],
      /not a database/,
    ],
  ] as const) {
    test(title, async () => {
      const { code, stdout, stderr } = await runMain(arguments_);
      assert.equal(code, 2);
      assert.equal(stdout, '');
      assert.match(stderr, message);
      assert.equal(
        stderr
          .trim()
          .split('\n')
          .filter((line) => !line.includes('ExperimentalWarning') && !line.includes('--trace-warnings'))
          .length,
        1,
      );
    });
  }

  test('a database that another server has open', async () => {
    const server = await startServer({ onDisk: true });
    const database = join(server.directory, 'api.db');
    const { code, stderr } = await runMain([
      '--database',
      database,
      '--listen',
      `unix:${directory}/second.sock`,
    ]);
    assert.equal(code, 2);
    assert.match(stderr, /another server has it open/);
    await server.close();
  });

  test('an address that is taken', async () => {
    const server = await startServer({});
    const { host } = new URL(server.address);
    const { code, stderr } = await runMain([...base, ...token, '--listen', host]);
    assert.equal(code, 2);
    assert.match(stderr, /Cannot listen on 127\.0\.0\.1:\d+: EADDRINUSE/);
    await server.close();
  });
});

test('a unix socket is for its owner only and needs no TLS', async () => {
  const server = await startServer({ listen: `unix:${directory}/api.sock` });
  assert.equal(statSync(join(directory, 'api.sock')).mode & 0o777, 0o600);
  assert.equal((await server.call('POST', PEERS, { body: peer('over-unix') })).code, 201);
  await server.close();
});

test('TLS with a certificate of createServerCertificate; a reset reaches the client as one', async () => {
  const certificate = await createServerCertificate({
    directory: join(directory, 'pki'),
    addresses: ['127.0.0.2'],
  });
  assert.equal(statSync(certificate.keyFile).mode & 0o077, 0);
  const { certFile, keyFile, caFile } = certificate;
  const server = await startServer({
    arguments: ['--tls-cert', certFile, '--tls-key', keyFile, '--enable-faults'],
  });
  const { port } = new URL(server.address);
  const call = async (method: string, path: string, body: unknown): Promise<number> => {
    const sent = request({
      host: '127.0.0.1',
      port,
      path,
      method,
      ca: readFileSync(caFile),
      agent: false,
      headers: { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' },
    });
    sent.end(body === undefined ? undefined : JSON.stringify(body));
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    response.resume();
    await once(response, 'end');
    return response.statusCode ?? 0;
  };
  assert.equal(await call('POST', PEERS, peer('over-tls')), 201);
  assert.equal(await call('PUT', '/faults', [{ action: 'reset' }]), 200);
  await assert.rejects(call('POST', PEERS, peer('reset')), { code: 'ECONNRESET' });
  assert.equal(await call('GET', '/faults/requests', undefined), 200);
  await server.close();
});

test('SIGTERM ends it with code 0, with a watch open and a request stalled', async () => {
  const server = await startServer({ arguments: ['--enable-faults'] });
  await server.call('PUT', '/faults', { body: [{ action: 'stall', verb: 'list' }] });
  const stalled = server.call('GET', PEERS).catch(() => 'broken');
  const stream = await server.watch(`${PEERS}?watch=1`);
  server.child.kill('SIGTERM');
  assert.equal(await server.exited(), 0);
  assert.equal(await stream.next(), undefined);
  assert.equal(await stalled, 'broken');
  await server.close();
});

test('a kill -9 loses nothing that was answered; watches go on from where they were', async () => {
  const first = await startServer({ onDisk: true });
  const { metadata } = (await first.call('POST', PEERS, { body: peer('a') })).body;
  assert.equal((await first.call('POST', PEERS, { body: peer('b') })).code, 201);
  first.child.kill('SIGKILL');
  await first.exited();
  const second = await startServer({ directory: first.directory, onDisk: true });
  assert.deepEqual((await second.call('GET', `${PEERS}/a`)).body.metadata, metadata);
  const stream = await second.watch(`${PEERS}?watch=1&resourceVersion=${metadata.resourceVersion}`);
  assert.equal((await stream.next()).object.metadata.name, 'b');
  const next = (await second.call('POST', PEERS, { body: peer('c') })).body.metadata.resourceVersion;
  assert.ok(Number(next) > Number(metadata.resourceVersion));
  stream.close();
  await second.close();
  await first.close();
});

test('a crash between a delete and its collection is made good at the next start', async () => {
  const first = await startServer({ arguments: ['--enable-faults'], onDisk: true });
  const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n' } };
  const { uid } = (await first.call('POST', NODES, { body: node })).body.metadata;
  const owned = block('10.70.0.0/24', 'n', { ownerReferences: [ownedBy('Node', 'n', uid)] });
  assert.equal((await first.call('POST', BLOCKS, { body: owned })).code, 201);
  await first.call('PUT', '/faults', { body: [{ action: 'crash', moment: 'after', write: 1 }] });
  await assert.rejects(first.call('DELETE', `${NODES}/n`), { code: 'ECONNRESET' });
  await first.exited();
  const second = await startServer({ directory: first.directory, onDisk: true });
  assert.equal((await second.call('GET', `${BLOCKS}/10.70.0.0-24`)).code, 404);
  await second.close();
  await first.close();
});

test('only the latest changes are kept: an older watch is told to list anew', async () => {
  const server = await startServer({ arguments: ['--history', '8'] });
  const { resourceVersion } = (await server.call('POST', PEERS, { body: peer('first') })).body.metadata;
  for (let index = 0; index < 12; index += 1)
    await server.call('POST', PEERS, { body: peer(`later-${index}`) });
  const stream = await server.watch(`${PEERS}?watch=1&resourceVersion=${resourceVersion}`);
  assert.equal((await stream.next()).object.code, 410);
  await server.close();
});
