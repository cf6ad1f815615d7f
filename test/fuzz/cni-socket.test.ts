// The CNI socket's protocol: a million messages through the server that answers them, each one cut somewhere as a stream would cut it,
// and some thousand connections to a real socket that arrive in pieces, with descriptors, and hang up. Every message gets one answer that
// the shim can read, whatever the handler does, and no descriptor stays.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';

import { createCniServer } from '../../agent/control/cni/cni-server.ts';
import { libc } from '../../agent/linux/libc.ts';
import { openReadiness } from '../../agent/linux/readiness.ts';
import { openUnixListener } from '../../agent/linux/unix-listener.ts';
import { requestBytes } from '../../proto/shim-codec.ts';
import { connectTo, receiveNow, sendWithDescriptors } from '../contract/raw-unix-client.ts';
import { randomInt, seededRandom, testSeed } from '../support/random.ts';
import { createHandler, messageMutator, readAnswer } from './cni-messages.ts';
import type { MessageOrder } from './cni-socket-messages.ts';
import { FUZZ_CASES } from './fuzzing.ts';

const WORKERS = 2;
const CONNECTIONS = 3000;

async function answerAll(order: MessageOrder): Promise<readonly [served: number, refused: number]> {
  const worker = new Worker(new URL('cni-socket-messages.ts', import.meta.url), { workerData: order });
  const [statuses] = (await once(worker, 'message')) as [readonly [number, number]]; // as: what it posts
  return statuses;
}

test('CNI socket: every message gets one answer that the shim can read', async (t) => {
  const seed = testSeed();
  t.diagnostic(`WEFT_TEST_SEED=${seed}`);
  const cases = Math.ceil(FUZZ_CASES / WORKERS);
  const orders = Array.from({ length: WORKERS }, (_, at) => ({ seed: (seed + at * cases) >>> 0, cases }));
  const statuses = await Promise.all(orders.map(answerAll));
  const sum = (of: 0 | 1): number => statuses.reduce((total, each) => total + each[of], 0);
  t.diagnostic(`${sum(0) + sum(1)} messages: ${sum(0)} served, ${sum(1)} refused`);
  assert.ok(sum(0) > 0 && sum(1) > 0);
});

const openDescriptors = (): number => readdirSync('/proc/self/fd').length;

test(`CNI socket: ${CONNECTIONS} connections in pieces, with descriptors, hung up`, async (t) => {
  const seed = testSeed();
  t.diagnostic(`WEFT_TEST_SEED=${seed}`);
  const random = seededRandom(seed);
  const directory = mkdtempSync(join(tmpdir(), 'weft-fuzz-socket-'));
  const path = join(directory, 'run', 'cni.sock');
  const readiness = openReadiness();
  const server = createCniServer({ handler: createHandler(random), observe: () => undefined });
  const listener = openUnixListener({
    path,
    readiness,
    messageBytes: requestBytes,
    maxDescriptors: 2,
    deadlineMs: 60_000,
    handle: (message) => server.answer(message),
    refuse: (reason) => server.refuse(reason),
  });
  const passed = openSync('/dev/null', 'r');
  const before = openDescriptors();
  let answers = 0;
  for (let at = 0; at < CONNECTIONS; at++) {
    const socket = connectTo(path);
    let rest = Uint8Array.from(messageMutator.mutate(random));
    while (rest.length > 0) {
      const part = rest.subarray(0, 1 + randomInt(random, rest.length));
      const descriptors = random() < 0.2 ? Array.from({ length: randomInt(random, 4) }, () => passed) : [];
      if (sendWithDescriptors(socket, part, descriptors) < 0) break; // refused meanwhile
      rest = rest.subarray(part.length);
      if (random() < 0.3) await new Promise(setImmediate);
    }
    // Half of them wait for the answer as long as there is something to answer, the others are gone.
    if (rest.length === 0 && random() < 0.5) {
      libc.shutdown(socket, 1);
      let answer = receiveNow(socket);
      while (answer === undefined) {
        await new Promise(setImmediate);
        answer = receiveNow(socket);
      }
      if (answer.length > 0) {
        readAnswer(answer);
        answers += 1;
      }
    }
    libc.close(socket);
  }
  await listener.close();
  readiness.close();
  closeSync(passed);
  assert.ok(answers > 0);
  assert.ok(openDescriptors() <= before, `${openDescriptors()} descriptors, ${before} before`);
  t.diagnostic(`${answers} answers`);
  rmSync(directory, { recursive: true });
});
