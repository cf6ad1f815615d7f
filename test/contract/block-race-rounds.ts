// Worker of block-race.test.ts: rounds of the race in one API server. A thread of its own because the test runner follows every promise
// of its thread, which costs more than the race itself.
import { parentPort, workerData } from 'node:worker_threads';

import type { NodeIdentity } from '../../agent/control/blocks/own-blocks.ts';
import { createClusterApi } from '../../agent/kube/api-client.ts';
import { OperationError } from '../../agent/operation-error.ts';
import { parseCidr } from '../../proto/address-text.ts';
import { decodeAddressBlock, decodePeer } from '../../proto/api-decode.ts';
import { stateIdOf, type Blocks, type RaceResult, listBlocks, raceForBlocks } from '../support/block-race.ts';
import { randomInt, seededRandom } from '../support/random.ts';
import { type InProcessApi, createInProcessApi } from './in-process-api.ts';

export interface RaceOrder {
  readonly seed: number;
  readonly rounds: number;
  readonly agents: number;
}

const { seed, rounds, agents } = workerData as RaceOrder; // as: block-race.test.ts gives it
// Refusals are errors, 200,000 of them, and nobody looks where they are from.
Error.stackTraceLimit = 0;
const LOST_ANSWERS = 0.02;
const range = parseCidr('10.32.0.0/22');

/** Time that passes when nothing else can happen; what waits for the network goes on in random order. */
class Traffic {
  nowMs = 0;
  readonly #random: () => number;
  readonly #onTheWay: (() => void)[] = [];
  #sleepers: { readonly dueMs: number; readonly wake: () => void }[] = [];

  constructor(random: () => number) {
    this.#random = random;
  }

  travel(): Promise<void> {
    return new Promise((resolve) => this.#onTheWay.push(resolve));
  }

  pause(ms: number): Promise<void> {
    return new Promise((wake) => this.#sleepers.push({ dueMs: this.nowMs + ms, wake }));
  }

  /** Until the promise is settled. */
  async flow(until: Promise<unknown>): Promise<void> {
    const state = { isSettled: false };
    const settle = (): void => void (state.isSettled = true);
    until.then(settle, settle);
    while (!state.isSettled) {
      this.nowMs += 1;
      const many = Math.ceil(this.#onTheWay.length * this.#random());
      for (let sent = 0; sent < many; sent++) {
        this.#onTheWay.splice(randomInt(this.#random, this.#onTheWay.length), 1)[0]?.();
      }
      if (many === 0) this.nowMs = Math.min(...this.#sleepers.map(({ dueMs }) => dueMs), this.nowMs + 50);
      const due = this.#sleepers.filter(({ dueMs }) => dueMs <= this.nowMs);
      this.#sleepers = this.#sleepers.filter(({ dueMs }) => dueMs > this.nowMs);
      for (const { wake } of due) wake();
      await new Promise(setImmediate);
    }
  }
}

/** A block whose Node does not exist is collected as garbage. */
function createNodes({ http }: InProcessApi): Promise<readonly NodeIdentity[]> {
  const create = async (name: string): Promise<NodeIdentity> => {
    const body = { apiVersion: 'v1', kind: 'Node', metadata: { name } };
    const node = await http.json({ action: 'create a node', method: 'POST', path: '/api/v1/nodes', body });
    const { metadata } = node as { metadata: { uid: string } }; // as: what the server stored
    return { name, uid: metadata.uid, stateId: stateIdOf(name) };
  };
  return Promise.all(Array.from({ length: agents }, (_, at) => create(`node-${at}`)));
}

const server = createInProcessApi();
const nodes = await createNodes(server);

async function round(random: () => number): Promise<RaceResult> {
  const traffic = new Traffic(random);
  const api = createClusterApi({ http: server.http, decodePeer, decodeAddressBlock });
  const ask = async <T>(request: () => Promise<T>): Promise<T> => {
    await traffic.travel();
    const outcome = await Promise.allSettled([request()]);
    await traffic.travel();
    if (random() < LOST_ANSWERS) throw new OperationError('connection reset', { code: 'UNAVAILABLE' });
    if (outcome[0].status === 'rejected') throw outcome[0].reason;
    return outcome[0].value;
  };
  let seen: { version: number; blocks: Promise<Blocks> } | undefined;
  const race = raceForBlocks(
    {
      random,
      now: () => traffic.nowMs,
      pause: (ms) => traffic.pause(ms),
      connect: () => ({
        createBlock: (block) => ask(() => api.createBlock(block)),
        getBlock: (name) => ask(() => api.getBlock(name)),
      }),
      list: () => listBlocks(server.http),
      hear: () => {
        const version = server.version();
        if (seen?.version !== version) seen = { version, blocks: listBlocks(server.http) };
        return seen.blocks;
      },
    },
    { nodes, range, blockPrefixLength: 26 },
  );
  await traffic.flow(race);
  for (const name of (await listBlocks(server.http)).keys()) await api.deleteBlock(name, {});
  return race;
}

const results: RaceResult[] = [];
for (let at = 0; at < rounds; at++) {
  const roundSeed = (seed + at) >>> 0;
  try {
    results.push(await round(seededRandom(roundSeed)));
  } catch (error) {
    throw new Error(`WEFT_TEST_SEED=${roundSeed} repeats this round first`, { cause: error });
  }
}
server.close();
parentPort?.postMessage(results); // oxlint-disable-line unicorn/require-post-message-target-origin -- a port has no origin
