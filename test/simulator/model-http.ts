// One agent's way to the model API: requests that take time, get lost before or after they were carried out, and meet partitions; watches that
// break, go silent or are refused.
import type { HttpClient, JsonRequest, StreamRequest, StreamSink } from '../../agent/kube/http.ts';
import { OperationError } from '../../agent/operation-error.ts';
import { ADDRESS_BLOCKS, PEERS } from '../../proto/api-kinds.ts';
import type { Chance } from './chance.ts';
import { type ApiObject, type ModelApi, type Plural, failure } from './model-api.ts';
import type { Writer } from './model-disk.ts';
import type { VirtualTime } from './virtual-time.ts';

export interface ModelHttpOptions {
  readonly api: ModelApi;
  readonly time: VirtualTime;
  readonly chance: Chance;
  readonly process: Writer;
  readonly isPartitioned: () => boolean;
  /** Scales all faults; 0 = none. */
  readonly faults: () => number;
}

const LATENCY_MS = [1, 30] as const;
const DEADLINE_MS = 30_000;
const BOOKMARK_MS = 20_000;

export function createModelHttp(options: ModelHttpOptions): HttpClient {
  const { api, time, chance, process, isPartitioned, faults } = options;
  let closed = false;

  const json = (request: JsonRequest): Promise<unknown> =>
    new Promise((resolve, reject) => {
      if (process.isDead || closed) return;
      process.effect();
      const lose = (delayMs: number): void => {
        time.setTimer(delayMs, () =>
          reject(new OperationError('the connection was reset', { code: 'UNAVAILABLE' })),
        );
      };
      if (isPartitioned()) return lose(DEADLINE_MS);
      if (chance.happens(0.01 * faults())) return lose(1000);
      if (chance.happens(0.01 * faults())) return reject(failure(chance.happens(0.5) ? 429 : 503, 'Later'));
      time.setTimer(chance.between(...LATENCY_MS), () => {
        let answer: () => void;
        try {
          const value = carryOut(api, request);
          answer = () => resolve(value);
        } catch (error) {
          answer = () => reject(error);
        }
        if (isPartitioned() || chance.happens(0.02 * faults())) return lose(chance.between(10, DEADLINE_MS));
        time.setTimer(chance.between(...LATENCY_MS), () => {
          if (process.isDead) return;
          try {
            process.effect();
          } catch {
            return; // died before it heard
          }
          answer();
        });
      });
    });

  const stream = async (request: StreamRequest, sink: StreamSink): Promise<void> => {
    const { searchParams, pathname } = new URL(request.path, 'http://api');
    await time.after(isPartitioned() ? DEADLINE_MS : chance.between(...LATENCY_MS));
    if (isPartitioned()) throw new OperationError('the connection was reset', { code: 'UNAVAILABLE' });
    let isOpen = true;
    let isSilent = false;
    let nextAt = 0;
    const say = (line: Uint8Array): void => {
      const at = Math.max(nextAt, time.now() + chance.between(...LATENCY_MS));
      nextAt = at;
      time.setTimer(at - time.now(), () => {
        if (isPartitioned()) isSilent = true; // what was lost is not said later
        if (isOpen && !isSilent && !process.isDead) sink.chunk(line);
      });
    };
    const plural = pathname.endsWith(PEERS) ? PEERS : ADDRESS_BLOCKS;
    const end = api.watch(plural, Number(searchParams.get('resourceVersion')), ({ line }) => {
      if (chance.happens(0.003 * faults())) isSilent = true;
      if (!isSilent) say(line);
    });
    const finish = (): void => {
      isOpen = false;
      end();
    };
    request.signal.addEventListener('abort', finish);
    const bookmark = (): void => {
      if (!isOpen || process.isDead) return finish();
      if (isPartitioned()) isSilent = true;
      if (!isSilent) {
        const object = { metadata: { resourceVersion: String(api.version) } };
        say(Buffer.from(`${JSON.stringify({ type: 'BOOKMARK', object })}\n`));
      }
      time.setTimer(BOOKMARK_MS, bookmark);
    };
    time.setTimer(BOOKMARK_MS, bookmark);
    const seconds = Number(searchParams.get('timeoutSeconds'));
    const isBroken = chance.happens(0.3 * faults());
    time.setTimer(seconds * 1000 * (isBroken ? chance.random() : 1), () => {
      if (!isOpen || isSilent || process.isDead) return;
      finish();
      sink.end(
        isBroken ? new OperationError('the connection was reset', { code: 'UNAVAILABLE' }) : undefined,
      );
    });
  };

  return {
    json,
    stream,
    close() {
      closed = true;
    },
  };
}

function carryOut(api: ModelApi, { method, path, body }: JsonRequest): unknown {
  const url = new URL(path, 'http://api');
  const parts = url.pathname.split('/').slice(1);
  const kind = parts.find((part) => [PEERS, ADDRESS_BLOCKS, 'nodes', 'events'].includes(part));
  const name = kind === undefined ? undefined : parts[parts.indexOf(kind) + 1];
  if (kind === 'events') return {};
  if (kind === 'nodes') return node(api, name ?? '');
  if (kind === undefined) throw failure(404, 'NotFound');
  const plural = kind as Plural; // as: one of the two that are left
  if (method === 'POST') return api.create(plural, body as ApiObject); // as: our own client's, as below
  if (method === 'PUT') return api.replace(plural, body as ApiObject);
  if (method === 'DELETE') {
    api.delete(plural, name ?? '', (body as { preconditions?: { uid?: string } }).preconditions);
    return {};
  }
  if (name !== undefined) return api.get(plural, name);
  const atLeast = url.searchParams.get('resourceVersion');
  const { items, version } = api.list(plural, atLeast === null ? undefined : Number(atLeast));
  return { metadata: { resourceVersion: String(version) }, items };
}

function node(api: ModelApi, name: string): unknown {
  const uid = api.nodes.get(name);
  if (uid === undefined) throw failure(404, 'NotFound');
  return { metadata: { name, uid }, spec: {} };
}
