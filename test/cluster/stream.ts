// One long-lived TCP connection between two pods, both ways: the numbers of what each end reads are checked as they come, so a byte that
// is lost, repeated or changed shows, and so does a reset. The ends are processes in the pods' network namespaces (stream-worker.ts).
import type { ChildProcess } from 'node:child_process';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

import { type Place, spawnIn } from '../lab/command.ts';
import { condition, until } from '../lab/condition.ts';

const WORKER = fileURLToPath(new URL('stream-worker.ts', import.meta.url));
const PORT = 7780;
const CONNECT_BOUND_MS = 20_000;
/** TCP tries again later and later: after a long gap its next try may be a minute away. */
const RESUME_BOUND_MS = 90_000;

/** How one end stands. */
export interface StreamState {
  readonly sent: number;
  readonly received: number;
  /** The other end has said that nothing more comes. */
  readonly ended: boolean;
  /** Between two arrivals. */
  readonly longestPauseMs: number;
  /** What broke the stream. */
  readonly broken?: string;
}

export interface StreamRequest {
  readonly id: number;
  /** Nothing more is sent from now on. */
  readonly finish?: true;
}

export type StreamReply = { readonly ready: true } | { readonly id: number; readonly state: StreamState };

export interface Stream {
  /** Resolves when more has arrived at both ends. Throws when the stream has broken. */
  readonly alive: () => Promise<void>;
  /** Ends both directions and resolves when everything has arrived; one line about it. Throws when something has not. */
  readonly finish: () => Promise<string>;
  readonly close: () => void;
}

interface StreamEnd {
  readonly name: string;
  readonly ask: (request?: Omit<StreamRequest, 'id'>) => Promise<StreamState>;
  readonly close: () => void;
}

export interface StreamPlaces {
  readonly from: Place;
  readonly to: Place;
  /** Address of `to`. */
  readonly address: string;
}

/** Resolves when the connection is there. */
export async function openStream({ from, to, address }: StreamPlaces): Promise<Stream> {
  const server = await startEnd(to, ['listen', String(PORT)]);
  const client = await startEnd(from, ['connect', address, String(PORT)]);
  const ends = [client, server];
  const ask = async (end: StreamEnd, request?: Omit<StreamRequest, 'id'>): Promise<StreamState> => {
    const state = await end.ask(request);
    if (state.broken !== undefined) throw new Error(`The TCP stream broke at ${end.name} ${state.broken}`);
    return state;
  };
  return {
    alive: async () => {
      for (const end of ends) {
        const before = await ask(end);
        await resumed(
          async () => (await ask(end)).received > before.received,
          `the TCP stream at ${end.name}`,
        );
      }
    },
    finish: async () => {
      for (const end of ends) await ask(end, { finish: true });
      const states = await condition(
        async () => {
          const both = [await client.ask(), await server.ask()] as const;
          const failed = both.find(({ broken }) => broken !== undefined)?.broken;
          return failed !== undefined || both.every(({ ended }) => ended) ? both : undefined;
        },
        { what: 'the end of the TCP stream', boundMs: RESUME_BOUND_MS },
      );
      for (const [index, end] of ends.entries()) {
        const [own, other] = [await ask(end), states[1 - index]];
        if (own.received !== other?.sent) {
          throw new Error(
            `At ${end.name} arrived ${own.received} of the ${other?.sent} words of the TCP stream`,
          );
        }
      }
      const [{ sent, received, longestPauseMs }] = states;
      return `TCP stream whole: ${sent} words there, ${received} back, longest pause ${longestPauseMs.toFixed(0)} ms`;
    },
    close: () => ends.forEach((end) => end.close()),
  };
}

/** As `until`, but what breaks the stream is told at once. */
async function resumed(observe: () => Promise<boolean>, what: string): Promise<void> {
  let failure: unknown;
  await until(
    () =>
      observe().catch((error: unknown) => {
        failure = error;
        return true;
      }),
    { what: `${what} to go on`, boundMs: RESUME_BOUND_MS },
  );
  if (failure !== undefined) throw failure;
}

async function startEnd(place: Place, words: readonly string[]): Promise<StreamEnd> {
  const child: ChildProcess = spawnIn(place, [process.execPath, WORKER, ...words], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const waiting = new Map<
    number,
    { resolve: (state: StreamState) => void; reject: (error: Error) => void }
  >();
  let count = 0;
  await new Promise<void>((resolve, reject) => {
    const bound = setTimeout(() => {
      reject(new Error(`Waited ${CONNECT_BOUND_MS} ms in vain for "${words.join(' ')}" in ${place.name}`));
    }, CONNECT_BOUND_MS);
    child.once('error', reject);
    child.once('exit', (code) => {
      const error = new Error(`The end of the TCP stream in ${place.name} is gone (${code})`);
      reject(error);
      for (const one of waiting.values()) one.reject(error);
    });
    child.on('message', (message) => {
      const reply = message as StreamReply; // as: only the worker writes to this channel
      if ('ready' in reply) {
        clearTimeout(bound);
        return resolve();
      }
      waiting.get(reply.id)?.resolve(reply.state);
      waiting.delete(reply.id);
    });
  });
  return {
    name: place.name,
    ask: (request = {}) =>
      new Promise((resolve, reject) => {
        count += 1;
        waiting.set(count, { resolve, reject });
        child.send({ id: count, ...request });
      }),
    close: () => {
      if (child.connected) child.disconnect();
    },
  };
}
