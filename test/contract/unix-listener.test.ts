// The agent's unix listener with real sockets: descriptors beside bytes, limits, take-over, and that nothing stays open.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  closeSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';

import { libc } from '../../agent/linux/libc.ts';
import { openReadiness } from '../../agent/linux/readiness.ts';
import type { UnixMessage } from '../../agent/linux/unix-connection.ts';
import { type UnixListener, openUnixListener } from '../../agent/linux/unix-listener.ts';
import { codeOf } from '../../agent/operation-error.ts';
import { decoded, refused } from '../../proto/decoded.ts';
import { condition, until } from '../lab/condition.ts';
import { connectTo, receiveNow, sendWithDescriptors } from './raw-unix-client.ts';

const openDescriptors = (): readonly string[] => readdirSync('/proc/self/fd');

// The test's protocol: two bytes of length (of the whole message, at most 40,000), then the message.
const messageBytes = (head: Uint8Array) => {
  if (head.length < 2) return decoded(undefined);
  const length = (head[0]! << 8) | head[1]!; // !: two bytes are there
  return length > 40_000 ? refused('too-large') : decoded(length);
};
const message = (length: number): Uint8Array => {
  const bytes = new Uint8Array(length).fill(7);
  bytes[0] = length >> 8;
  bytes[1] = length & 255;
  return bytes;
};
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

interface Bench {
  readonly path: string;
  readonly handled: UnixMessage[];
  readonly refusals: string[];
  readonly listener: UnixListener;
  readonly open: () => UnixListener;
}

/** A listener in a directory of its own; after the test every descriptor must be gone. */
async function withListener(
  context: TestContext,
  overrides: {
    readonly handle?: (message: UnixMessage) => Promise<Uint8Array>;
    readonly deadlineMs?: number;
    readonly maxConnections?: number;
  },
  body: (bench: Bench) => Promise<void>,
): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'weft-listener-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  const before = openDescriptors().length;
  const readiness = openReadiness();
  const handled: UnixMessage[] = [];
  const refusals: string[] = [];
  const path = join(directory, 'run', 'test.sock');
  const open = (): UnixListener =>
    openUnixListener({
      path,
      readiness,
      messageBytes,
      maxDescriptors: 2,
      deadlineMs: overrides.deadlineMs ?? 20_000,
      maxConnections: overrides.maxConnections ?? 256,
      handle: async (received) => {
        handled.push(received);
        return (await overrides.handle?.(received)) ?? new TextEncoder().encode('done');
      },
      refuse: (reason) => {
        refusals.push(reason);
        return new TextEncoder().encode(`refused: ${reason}`);
      },
    });
  const listener = open();
  try {
    await body({ path, handled, refusals, listener, open });
  } finally {
    await listener.close();
    readiness.close();
  }
  await until(() => openDescriptors().length === before, { what: 'all descriptors to be closed' });
}

const reply = async (fd: number): Promise<string> => {
  const parts: Uint8Array[] = [];
  await until(
    () => {
      const part = receiveNow(fd);
      if (part !== undefined && part.length > 0) parts.push(part);
      return part?.length === 0;
    },
    { what: 'the end of the reply', intervalMs: 1 },
  );
  libc.close(fd);
  return text(Buffer.concat(parts));
};

test('a message in pieces with two descriptors: handled once, descriptors valid until then, closed after', async (context) => {
  const inodes: number[] = [];
  const handle = async ({ descriptors }: UnixMessage): Promise<Uint8Array> => {
    for (const fd of descriptors) inodes.push(fstatSync(fd).ino);
    return new TextEncoder().encode('done');
  };
  await withListener(context, { handle }, async ({ path, handled, refusals }) => {
    const files = [openSync('/etc/passwd', 'r'), openSync('/proc/self/ns/net', 'r')];
    const expected = files.map((fd) => fstatSync(fd).ino);
    const fd = connectTo(path);
    const bytes = message(30_000);
    sendWithDescriptors(fd, bytes.subarray(0, 1), files);
    for (const file of files) closeSync(file);
    sendWithDescriptors(fd, bytes.subarray(1, 300), []);
    sendWithDescriptors(fd, bytes.subarray(300), []);
    assert.equal(await reply(fd), 'done');
    assert.deepEqual(inodes, expected);
    assert.equal(handled.length, 1);
    assert.deepEqual(handled[0]?.bytes, bytes);
    assert.deepEqual(refusals, []);
  });
});

test('refused with a reply: too large, too many descriptors in one or several pieces', async (context) => {
  await withListener(context, {}, async ({ path, handled, refusals }) => {
    const files = Array.from({ length: 100 }, () => openSync('/dev/null', 'r'));
    const large = connectTo(path);
    sendWithDescriptors(large, new Uint8Array([255, 255]), files.slice(0, 2));
    assert.equal(await reply(large), 'refused: too-large');
    for (const count of [3, 8, 100]) {
      const many = connectTo(path);
      sendWithDescriptors(many, message(4), files.slice(0, count));
      assert.equal(await reply(many), 'refused: too-many-descriptors');
    }
    const slow = connectTo(path);
    sendWithDescriptors(slow, message(4).subarray(0, 2), files.slice(0, 2));
    sendWithDescriptors(slow, message(4).subarray(2), files.slice(0, 1));
    assert.equal(await reply(slow), 'refused: too-many-descriptors');
    for (const file of files) closeSync(file);
    assert.equal(handled.length, 0);
    assert.equal(refusals.length, 5);
  });
});

test('a peer that hangs up half-way or before the reply leaves nothing', async (context) => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const handle = async (): Promise<Uint8Array> => {
    await promise;
    return new Uint8Array(1_000_000);
  };
  await withListener(context, { handle }, async ({ path, handled, refusals }) => {
    const file = openSync('/dev/null', 'r');
    const half = connectTo(path);
    sendWithDescriptors(half, message(10).subarray(0, 5), [file]);
    libc.close(half);
    await until(() => refusals.includes('hung-up'), { what: 'the hang-up to be seen' });
    const whole = connectTo(path);
    sendWithDescriptors(whole, message(10), [file]);
    closeSync(file);
    await until(() => handled.length === 1, { what: 'the message to be handled' });
    libc.close(whole);
    resolve();
    await until(() => refusals.includes('reply-undelivered'), { what: 'the undelivered reply to be told' });
  });
});

test('a large reply to a slow reader arrives whole', async (context) => {
  const large = 'x'.repeat(1_000_000);
  const handle = async (): Promise<Uint8Array> => new TextEncoder().encode(large);
  await withListener(context, { handle }, async ({ path, handled }) => {
    const fd = connectTo(path);
    sendWithDescriptors(fd, message(4), []);
    await until(() => handled.length === 1, { what: 'the message to be handled' });
    assert.equal(await reply(fd), large);
  });
});

test('the deadline ends a silent connection and one whose handler is late; its descriptors outlive it until the handler is done', async (context) => {
  const { promise, resolve } = Promise.withResolvers<void>();
  let stillOpen: boolean | undefined;
  const handle = async ({ descriptors }: UnixMessage): Promise<Uint8Array> => {
    await promise;
    stillOpen = descriptors.every((fd) => fstatSync(fd).isCharacterDevice());
    return new Uint8Array(1);
  };
  await withListener(context, { handle, deadlineMs: 50 }, async ({ path, handled, refusals }) => {
    const silent = connectTo(path);
    assert.equal(await reply(silent), '');
    const late = connectTo(path);
    const file = openSync('/dev/null', 'r');
    sendWithDescriptors(late, message(4), [file]);
    closeSync(file);
    assert.equal(await reply(late), '');
    assert.deepEqual(refusals, ['deadline', 'deadline']);
    assert.equal(handled.length, 1);
    resolve();
    await until(() => stillOpen !== undefined, { what: 'the handler to finish' });
    assert.equal(stillOpen, true);
  });
});

test('more connections than allowed wait in the queue and are served', async (context) => {
  await withListener(context, { maxConnections: 2 }, async ({ path, handled }) => {
    const sockets = Array.from({ length: 9 }, () => connectTo(path));
    for (const fd of sockets.toReversed()) sendWithDescriptors(fd, message(4), []);
    for (const fd of sockets) assert.equal(await reply(fd), 'done');
    assert.equal(handled.length, 9);
  });
});

test('directory 0700, socket 0600; a stale socket or file is replaced', async (context) => {
  await withListener(context, {}, async ({ path, listener, open }) => {
    assert.equal(statSync(join(path, '..')).mode & 0o777, 0o700);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    await listener.close();
    assert.throws(() => connectTo(path), { code: 'ECONNREFUSED' });
    const second = open();
    libc.close(connectTo(path));
    await second.close();
    rmSync(path);
    writeFileSync(path, '');
    const third = open();
    libc.close(connectTo(path));
    assert.deepEqual(readdirSync(join(path, '..')), ['test.sock']);
    await third.close();
  });
});

test('a path that is too long, a directory that others can write: refused and left as it is', (context) => {
  const readiness = openReadiness();
  const directory = mkdtempSync(join(tmpdir(), 'weft-listener-'));
  context.after(() => {
    rmSync(directory, { recursive: true, force: true });
    readiness.close();
  });
  const code = (path: string): string => {
    try {
      const handling = { messageBytes, maxDescriptors: 0, deadlineMs: 1, refuse: () => undefined };
      openUnixListener({ ...handling, readiness, path, handle: async () => new Uint8Array(0) });
      return 'opened';
    } catch (error) {
      return codeOf(error);
    }
  };
  assert.equal(code(join(directory, 'x'.repeat(120))), 'ENAMETOOLONG');
  chmodSync(directory, 0o777);
  assert.equal(code(join(directory, 's')), 'DIRECTORY_SHARED');
  chmodSync(directory, 0o1755);
  assert.equal(code(join(directory, 's')), 'DIRECTORY_SHARED');
  assert.equal(statSync(directory).mode & 0o7777, 0o1755);
});

test('take-over: a successor gets the path, the predecessor still serves what was connected to it', async (context) => {
  await withListener(context, {}, async ({ path, listener, open }) => {
    const old = connectTo(path);
    const successor = open();
    const fresh = connectTo(path);
    const closing = listener.close();
    sendWithDescriptors(old, message(4), []);
    assert.equal(await reply(old), 'done');
    await closing;
    sendWithDescriptors(fresh, message(4), []);
    assert.equal(await reply(fresh), 'done');
    assert.ok(statSync(path).isSocket(), "the path is the successor's");
    await successor.close();
  });
});

test('a peer that is not root is hung up on', async (context) => {
  await withListener(context, {}, async ({ path, handled, refusals }) => {
    for (const directory of [join(path, '..', '..'), join(path, '..')]) chmodSync(directory, 0o755);
    chmodSync(path, 0o666);
    const program = `const socket = require('net').connect(${JSON.stringify(path)});
      socket.on('error', () => {}).on('close', () => process.exit(0)).resume().write(Buffer.from([0, 2]));`;
    const child = spawn(
      'setpriv',
      ['--reuid=65534', '--regid=65534', '--clear-groups', process.execPath, '-e', program],
      {
        stdio: 'inherit',
      },
    );
    const [status]: unknown[] = await once(child, 'exit');
    assert.equal(status, 0);
    await condition(() => (refusals.length > 0 ? true : undefined), { what: 'the refusal' });
    assert.deepEqual(refusals, ['peer-not-root']);
    assert.equal(handled.length, 0);
  });
});
