// Requests and watches against a server that speaks raw bytes: what the kernel and the wire do, which no fake shows.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { after, test } from 'node:test';

import { createApiEndpoint } from '../../agent/kube/api-endpoint.ts';
import { type HttpClient, type HttpClientOptions, createHttpClient } from '../../agent/kube/http.ts';
import { type ResourceSource, createResourceSource } from '../../agent/kube/resource-source.ts';
import { OperationError } from '../../agent/operation-error.ts';
import { FakeClock, settle } from '../unit/kube-fakes.ts';

interface Rig {
  readonly http: HttpClient;
  readonly source: ResourceSource;
  readonly clock: FakeClock;
  readonly port: number;
  /** Requests as they came, and the sockets they came on. */
  readonly heads: string[];
  readonly sockets: net.Socket[];
}

const cleanups: (() => void)[] = [];
after(() => cleanups.forEach((cleanup) => cleanup()));

/** `answer` gets each request head. */
async function rig(
  answer: (socket: net.Socket, head: string) => void,
  told: Pick<HttpClientOptions, 'observe' | 'transferred'> = {},
): Promise<Rig> {
  const heads: string[] = [];
  const sockets: net.Socket[] = [];
  const server = net.createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => {});
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      const end = text.indexOf('\r\n\r\n');
      if (end < 0) return;
      heads.push(text);
      answer(socket, text.slice(0, end));
      text = '';
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo; // as: it listens on TCP
  const clock = new FakeClock();
  const endpoint = await createApiEndpoint({
    source: 'test',
    server: `http://127.0.0.1:${port}/prefix/`,
    token: { text: 'secret\n' },
  });
  const http = createHttpClient({ endpoint, userAgent: 'weft-agent/test', clock, ...told });
  cleanups.push(() => {
    http.close();
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return {
    http,
    source: createResourceSource({ http, path: '/things', plural: 'things' }),
    clock,
    port,
    heads,
    sockets,
  };
}

const reply = (status: string, body: string, headers = ''): string =>
  `HTTP/1.1 ${status}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n${headers}\r\n${body}`;
const WATCH_HEAD = 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n';
const chunk = (bytes: Uint8Array | string): Buffer => {
  const body = Buffer.from(bytes);
  return Buffer.concat([Buffer.from(`${body.length.toString(16)}\r\n`), body, Buffer.from('\r\n')]);
};

const get = { action: 'get it', method: 'GET', path: '/it' } as const;

async function refusal(promise: Promise<unknown>): Promise<OperationError> {
  const error: unknown = await promise.then(
    () => assert.fail('it succeeded'),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof OperationError, String(error));
  return error;
}

async function until(condition: () => boolean): Promise<void> {
  for (let turn = 0; !condition(); turn++) {
    assert.ok(turn < 5000, 'waited too long');
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

test('HttpClient sends who it is and its token, under the prefix, on one connection', async () => {
  const it = await rig((socket) => socket.write(reply('200 OK', '{"a":"ä"}')));
  assert.deepEqual(await it.http.json(get), { a: 'ä' });
  await it.http.json(get);
  assert.equal(it.sockets.length, 1);
  assert.match(it.heads[0]!, /^GET \/prefix\/it HTTP/);
  assert.match(it.heads[0]!, /authorization: Bearer secret\r\n/i);
  assert.match(it.heads[0]!, /user-agent: weft-agent\/test\r\n/i);
});

test('HttpClient tells the time of each exchange and the bytes of bodies, also of refusals and watches', async () => {
  const told: unknown[] = [];
  const options = {
    observe: ({ method, code, seconds }: { method: string; code: string; seconds: number }): void =>
      void told.push([method, code, seconds]),
    transferred: ({ direction, bytes }: { direction: string; bytes: number }): void =>
      void told.push([direction, bytes]),
  };
  const it = await rig((socket, head) => {
    if (head.includes('/watch'))
      socket.end(Buffer.concat([Buffer.from(WATCH_HEAD), chunk('12345'), chunk('')]));
    else if (head.startsWith('POST')) socket.write(reply('409 Conflict', '{"message":"no"}'));
    else {
      it.clock.now = () => 2500;
      socket.write(reply('200 OK', '{"a":"ä"}'));
    }
  }, options);
  it.clock.now = () => 1000;
  await it.http.json(get);
  assert.deepEqual(told.splice(0), [
    ['GET', '200', 1.5],
    ['received', 10],
  ]);
  await refusal(it.http.json({ action: 'put it', method: 'POST', path: '/it', body: { b: 1 } }));
  assert.deepEqual(told.splice(0), [
    ['POST', '409', 0],
    ['sent', 7],
    ['received', 16],
  ]);
  await new Promise<void>((resolve, reject) => {
    const signal = new AbortController().signal;
    const sink = { chunk: () => undefined, end: () => resolve() };
    it.http.stream({ action: 'watch', path: '/watch', signal }, sink).catch(reject);
  });
  assert.deepEqual(told, [
    ['GET', '200', 0],
    ['received', 5],
  ]);
});

test('HttpClient quotes the Status of the server and keeps its Retry-After', async () => {
  const it = await rig((socket) =>
    socket.write(reply('429 Too Many', '{"message":"slow down"}', 'retry-after: 9\r\n')),
  );
  const error = await refusal(it.http.json(get));
  assert.equal(error.message, 'Cannot get it: the API server answered 429: "slow down"');
  assert.equal(error.code, 'THROTTLED');
  assert.equal(error.context['retryAfterMs'], 9000);
  await it.http.json(get).catch(() => {});
  assert.equal(it.sockets.length, 1);
});

test('HttpClient takes an HTML error page, a huge one and a cut one for their status', async () => {
  for (const body of ['<h1>no</h1>', 'x'.repeat(100_000)]) {
    const it = await rig((socket) => socket.write(reply('503 Service Unavailable', body)));
    assert.equal((await refusal(it.http.json(get))).message, 'Cannot get it: the API server answered 503');
  }
  const it = await rig((socket) => socket.end('HTTP/1.1 503 X\r\ncontent-length: 99\r\n\r\n{"mess'));
  assert.equal((await refusal(it.http.json(get))).code, 'UNAVAILABLE');
});

for (const [what, answer, code] of [
  ['a reset', (socket) => socket.resetAndDestroy(), 'UNAVAILABLE'],
  ['a close before the head', (socket) => socket.end(), 'UNAVAILABLE'],
  [
    'a close within the body',
    (socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{'),
    'UNAVAILABLE',
  ],
  ['something that is not HTTP', (socket) => socket.end('SSH-2.0-x\r\n'), 'UNAVAILABLE'],
  ['something that is not JSON', (socket) => socket.write(reply('200 OK', '{"a":')), 'MALFORMED'],
  ['more than the limit', (socket) => socket.write(reply('200 OK', `"${'x'.repeat(2000)}"`)), 'TOO_LARGE'],
] as const satisfies readonly (readonly [string, (socket: net.Socket) => unknown, string])[]) {
  test(`HttpClient answers ${code} to ${what}`, async () => {
    const it = await rig(answer);
    const error = await refusal(it.http.json({ ...get, maxBytes: 1000 }));
    assert.equal(error.code, code);
    assert.match(error.message, /^Cannot get it: /);
    assert.equal(it.clock.pending, 0);
    it.http.close();
    await until(() => it.sockets.every((socket) => socket.destroyed));
  });
}

test('HttpClient says that nobody listens', async () => {
  const endpoint = await createApiEndpoint({ source: 'test', server: 'unix:/nonexistent/api.sock' });
  const http = createHttpClient({ endpoint, userAgent: 'x' });
  const error = await refusal(http.json(get));
  assert.equal(error.code, 'UNAVAILABLE');
  assert.match(error.message, /ENOENT/);
});

for (const [what, start] of [
  ['nothing', ''],
  ['half a head', 'HTTP/1.1 200'],
  ['half a body', 'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{'],
] as const) {
  test(`HttpClient gives up at its deadline when ${what} came`, async () => {
    const it = await rig((socket) => socket.write(start));
    const waiting = refusal(it.http.json({ ...get, deadlineMs: 700 }));
    await until(() => it.heads.length === 1);
    await settle();
    await it.clock.advance(699);
    assert.equal(it.clock.pending, 1);
    await it.clock.advance(1);
    const error = await waiting;
    assert.equal(error.code, 'UNAVAILABLE');
    assert.match(error.message, /no answer within 700 ms/);
    await until(() => it.sockets[0]!.destroyed);
  });
}

test('HttpClient ends a request that is given up, and its connection', async () => {
  const it = await rig(() => {});
  const controller = new AbortController();
  const waiting = refusal(it.http.json({ ...get, signal: controller.signal }));
  await until(() => it.heads.length === 1);
  controller.abort();
  assert.equal((await waiting).code, 'ABORTED');
  await until(() => it.sockets[0]!.destroyed);
});

test('HttpClient repeats a read on an idle connection that the server closed, and never a write', async () => {
  let kill = false;
  const it = await rig((socket) => {
    if (kill) {
      kill = false;
      socket.resetAndDestroy();
    } else socket.write(reply('200 OK', '{}'));
  });
  await it.http.json(get);
  await settle();
  kill = true;
  assert.deepEqual(await it.http.json(get), {});
  assert.equal(it.heads.length, 3);
  kill = true;
  const write = { ...get, method: 'POST', body: { a: 1 } } as const;
  assert.equal((await refusal(it.http.json(write))).code, 'UNAVAILABLE');
  assert.equal(it.heads.length, 4);
});

interface Watched {
  readonly events: unknown[];
  readonly ends: (string | undefined)[];
  readonly controller: AbortController;
}

function watch(source: ResourceSource): Watched {
  const watched: Watched = { events: [], ends: [], controller: new AbortController() };
  source.watch(
    { resourceVersion: '7', timeoutSeconds: 400 },
    {
      opened() {},
      event: (value) => watched.events.push(value),
      ended: (error) => watched.ends.push(error?.code),
    },
    watched.controller.signal,
  );
  return watched;
}

test('ResourceSource.watch asks for bookmarks and understands lines cut anywhere, also within a character', async () => {
  const line = Buffer.from('{"type":"ADDED","object":{"name":"ä€𝄞"}}\n');
  const it = await rig((socket) => {
    socket.write(WATCH_HEAD);
    for (const byte of Buffer.concat([line, line])) socket.write(chunk(Uint8Array.of(byte)));
    socket.write('0\r\n\r\n');
  });
  const { events, ends } = watch(it.source);
  await until(() => ends.length > 0);
  assert.deepEqual(events, [
    { type: 'ADDED', object: { name: 'ä€𝄞' } },
    { type: 'ADDED', object: { name: 'ä€𝄞' } },
  ]);
  assert.deepEqual(ends, [undefined]);
  assert.match(
    it.heads[0]!,
    /^GET \/prefix\/things\?watch=true&allowWatchBookmarks=true&resourceVersion=7&timeoutSeconds=400 /,
  );
});

for (const [what, send, code] of [
  ['a malformed line', (socket) => socket.write(chunk('{"type":\n{}\n')), 'MALFORMED'],
  ['a line that is no object', (socket) => socket.write(chunk('[]\n{}\n')), 'MALFORMED'],
  [
    'an answer that ends within a line',
    (socket) => socket.write(`${String(chunk('{"type"'))}0\r\n\r\n`),
    'MALFORMED',
  ],
  ['a gigantic line', (socket) => socket.write(chunk('x'.repeat((8 << 20) + 1))), 'MALFORMED'],
  ['a reset', (socket) => socket.resetAndDestroy(), 'UNAVAILABLE'],
  ['a close in the middle', (socket) => socket.end(), 'UNAVAILABLE'],
] as const satisfies readonly (readonly [string, (socket: net.Socket) => unknown, string])[]) {
  test(`ResourceSource.watch ends once, with ${code}, after ${what}`, async () => {
    const it = await rig((socket) => {
      socket.write(WATCH_HEAD, () => {
        setImmediate(() => send(socket));
      });
    });
    const { ends, events } = watch(it.source);
    await until(() => ends.length > 0);
    await settle();
    it.http.close();
    await until(() => it.sockets[0]!.destroyed);
    assert.deepEqual(ends, [code]);
    assert.deepEqual(events, []);
  });
}

test('ResourceSource.watch is silent after its caller gave up, and its connection is gone', async () => {
  const it = await rig((socket) => socket.write(WATCH_HEAD + String(chunk('{"type":"A"}\n'))));
  const { ends, events, controller } = watch(it.source);
  await until(() => events.length === 1);
  controller.abort();
  await until(() => it.sockets[0]!.destroyed);
  assert.deepEqual(ends, []);
});

test('ResourceSource.watch may be given up by the very event that ends it', async () => {
  const it = await rig((socket) =>
    socket.write(`${WATCH_HEAD}${String(chunk('{"type":"ERROR"}\n'))}0\r\n\r\n`),
  );
  for (let round = 0; round < 20; round++) {
    const controller = new AbortController();
    const ended = new Promise<void>((resolve) => {
      it.source.watch(
        { resourceVersion: '7', timeoutSeconds: 400 },
        {
          opened() {},
          event() {
            controller.abort();
            resolve();
          },
          ended: () => assert.fail('it was given up'),
        },
        controller.signal,
      );
    });
    await ended;
    await settle();
  }
});

test('ResourceSource.watch answers the code of a refused watch', async () => {
  const it = await rig((socket) => socket.write(reply('410 Gone', '{"message":"too old"}')));
  const { ends } = watch(it.source);
  await until(() => ends.length > 0);
  assert.deepEqual(ends, ['GONE']);
});

test('the kernel probes an idle watch: a dead path is found although nobody sends', async () => {
  const it = await rig((socket) => socket.write(WATCH_HEAD + String(chunk('{"type":"A"}\n'))));
  const { events } = watch(it.source);
  await until(() => events.length === 1);
  const remote = it.port.toString(16).toUpperCase().padStart(4, '0');
  const timers = readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .map((row) => row.trim().split(/\s+/))
    .filter(([, , remoteAddress]) => remoteAddress === `0100007F:${remote}`)
    .map(([, , , , , timer]) => timer?.split(':'));
  assert.equal(timers.length, 1);
  const [kind, jiffies] = timers[0]!;
  assert.equal(kind, '02', 'no keep-alive timer runs');
  assert.ok(Number.parseInt(jiffies!, 16) <= 1500, 'it starts later than 15 s');
});
