// Hand-over between agents that know of several data plane workers and agents that know of one only, over real sockets. What such an agent
// says and expects is written out here, as it was released: protocol 1 stays understood.
import assert from 'node:assert/strict';
import { fstatSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import type { DescriptorSet } from '../../agent/hand-over/descriptor-list.ts';
import { meetPredecessor } from '../../agent/hand-over/predecessor.ts';
import { type SuccessionOptions, openSuccession } from '../../agent/hand-over/succession.ts';
import { libc } from '../../agent/linux/libc.ts';
import { acceptConnection, receivePacket, sendPacket } from '../../agent/linux/packet-socket.ts';
import { READABLE, openReadiness } from '../../agent/linux/readiness.ts';
import { SOCK_SEQPACKET, connectTo, listenAt } from '../../agent/linux/unix-address.ts';
import { OperationError } from '../../agent/operation-error.ts';

const directory = mkdtempSync(join(tmpdir(), `weft-test-${process.pid}-hand-over-`));
const readiness = openReadiness();
after(() => {
  readiness.close();
  rmSync(directory, { recursive: true });
});

const BOUND = '192.0.2.1:6784';
const SEND_SOCKETS = 8;
let files = 0;

/** A file stands for each descriptor: its inode tells which one arrived. */
function openFile(): number {
  const path = join(directory, `descriptor-${(files += 1)}`);
  writeFileSync(path, '');
  return openSync(path, 'r');
}

const createSet = (workers: number): DescriptorSet => ({
  workers: Array.from({ length: workers }, () => ({ tun: openFile(), receive: openFile() })),
  send: Array.from({ length: SEND_SOCKETS }, openFile),
});
const inode = (fd: number): number => fstatSync(fd).ino;
const inodes = ({ workers, send }: DescriptorSet): unknown => ({
  workers: workers.map(({ tun, receive }) => [inode(tun), inode(receive)]),
  send: send.map(inode),
});

interface Message {
  readonly text: string;
  readonly descriptors: readonly number[];
}

/** Resolves with the next message of a connection. */
const nextMessage = (fd: number): Promise<Message> =>
  new Promise((resolve, reject) => {
    const unwatch = readiness.watch(fd, READABLE, () => {
      const packet = receivePacket(fd);
      if (packet === 'nothing') return;
      unwatch();
      if (packet === 'ended') reject(new Error('the connection ended'));
      else resolve(packet);
    });
  });

function succeed(path: string, descriptors: DescriptorSet): { readonly served: Promise<number> } {
  const served = Promise.withResolvers<number>();
  const options: SuccessionOptions = {
    path,
    readiness,
    bound: BOUND,
    version: '0.2.0',
    descriptors,
    offered: () => undefined,
    letGo: async (count) => served.resolve(count),
    ended: () => undefined,
  };
  openSuccession(options).inCharge();
  return { served: served.promise };
}

for (const workers of [1, 2, 8]) {
  test(`${workers} worker(s), both agents know of several: every descriptor arrives in its place`, async () => {
    const path = join(directory, `new-to-new-${workers}`);
    const set = createSet(workers);
    const { served } = succeed(path, set);
    const predecessor = await meetPredecessor({ path, version: '0.2.0', readiness, limitMs: 5000 });
    assert.ok(predecessor !== undefined && predecessor !== 'busy');
    assert.deepEqual(inodes(predecessor.descriptors), inodes(set));
    assert.equal(await predecessor.takeOver(5000), 'let_go');
    assert.equal(await served, workers);
    predecessor.close();
  });

  test(`${workers} worker(s), the new agent knows of one: it gets ten descriptors, and the old one is told`, async () => {
    const path = join(directory, `new-to-old-${workers}`);
    const set = createSet(workers);
    const { served } = succeed(path, set);
    const fd = connectTo({ path, type: SOCK_SEQPACKET }) ?? -1;
    sendPacket(fd, '{"kind":"hello","protocol":1,"version":"0.1.0"}');
    const offer = await nextMessage(fd);
    const [first] = set.workers;
    assert.ok(first !== undefined);
    assert.deepEqual(offer.descriptors.map(inode), [first.tun, first.receive, ...set.send].map(inode));
    const message: unknown = JSON.parse(offer.text);
    assert.deepEqual(message, { kind: 'descriptors', version: '0.2.0', bound: BOUND, workers: 1 });
    sendPacket(fd, '{"kind":"go"}');
    assert.equal((await nextMessage(fd)).text, '{"kind":"yours"}');
    assert.equal(await served, 1);
    libc.close(fd);
  });
}

/** An agent at `path` that answers hello with these. */
function answerHello(path: string, answer: Message): void {
  const listener = listenAt({ path, type: SOCK_SEQPACKET, backlog: 1 });
  const unwatch = readiness.watch(listener, READABLE, () => {
    const fd = acceptConnection(listener);
    if (fd === undefined) return;
    unwatch();
    libc.close(listener);
    void nextMessage(fd).then(() => sendPacket(fd, answer.text, answer.descriptors));
  });
}

test('the old agent knows of one worker: its ten descriptors are those of one', async () => {
  const path = join(directory, 'old-to-new');
  const set = createSet(1);
  const [first] = set.workers;
  assert.ok(first !== undefined);
  answerHello(path, {
    text: `{"kind":"descriptors","version":"0.1.0","bound":"${BOUND}"}`,
    descriptors: [first.tun, first.receive, ...set.send],
  });
  const predecessor = await meetPredecessor({ path, version: '0.2.0', readiness, limitMs: 5000 });
  assert.ok(predecessor !== undefined && predecessor !== 'busy');
  assert.deepEqual(inodes(predecessor.descriptors), inodes(set));
  predecessor.close();
});

test('fewer descriptors than its workers have: refused, with what to do', async () => {
  const path = join(directory, 'too-few');
  const text = `{"kind":"descriptors","version":"0.3.0","bound":"${BOUND}","workers":4}`;
  answerHello(path, { text, descriptors: [openFile(), openFile()] });
  await assert.rejects(meetPredecessor({ path, version: '0.2.0', readiness, limitMs: 5000 }), (error) => {
    assert.ok(error instanceof OperationError);
    assert.equal(error.code, 'PREDECESSOR_REFUSED');
    assert.match(error.message, /it passed 2 descriptors for 4 data plane workers; end its pod/);
    return true;
  });
});
