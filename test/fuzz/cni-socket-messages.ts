// Worker of cni-socket.test.ts: messages through the server that answers them. A thread of its own because the test runner follows every
// promise of its thread, which costs more than the messages.
import assert from 'node:assert/strict';
import { parentPort, workerData } from 'node:worker_threads';

import { createCniServer } from '../../agent/control/cni/cni-server.ts';
import { decodeRequest, requestBytes } from '../../proto/shim-codec.ts';
import { randomInt, seededRandom } from '../support/random.ts';
import { createHandler, messageMutator, readAnswer } from './cni-messages.ts';

export interface MessageOrder {
  readonly seed: number;
  readonly cases: number;
}

const { seed, cases } = workerData as MessageOrder; // as: cni-socket.test.ts gives it
Error.stackTraceLimit = 0; // a failed case is repeated to see more
let random = seededRandom(seed);
let observed = 0;
const server = createCniServer({
  handler: createHandler(() => random()),
  observe: () => (observed += 1),
});
/** Served, refused. */
const statuses = [0, 0];
for (let at = 0; at < cases; at++) {
  const caseSeed = (seed + at) >>> 0;
  random = seededRandom(caseSeed);
  const bytes = messageMutator.mutate(random);
  try {
    // A stream gives the head first: what it tells of the length stays so, or it is refused at once.
    const head = requestBytes(bytes.subarray(0, randomInt(random, bytes.length + 1)));
    const whole = requestBytes(bytes);
    if (!head.ok) assert.ok(!whole.ok && whole.reason === head.reason);
    else if (head.value !== undefined) assert.ok(whole.ok && whole.value === head.value);
    const descriptors = [7, 8].slice(0, randomInt(random, 3));
    const status = readAnswer(await server.answer({ bytes, descriptors }));
    statuses[status]! += 1; // !: readAnswer knows 0 and 1
    if (!decodeRequest(bytes).ok) assert.equal(status, 1);
  } catch (error) {
    throw new Error(`WEFT_TEST_SEED=${caseSeed} repeats this case first`, { cause: error });
  }
}
assert.equal(observed, cases);
parentPort?.postMessage(statuses); // oxlint-disable-line unicorn/require-post-message-target-origin -- a port has no origin
