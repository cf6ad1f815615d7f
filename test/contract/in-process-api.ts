// The embedded API server in the test's own process, without sockets: the agent's HttpClient port, answered by the server's own request
// handling. Some 20 times as fast as a connection for each write; for what asks 100,000 times.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';

import { statusError } from '../../agent/kube/api-status.ts';
import type { HttpClient } from '../../agent/kube/http.ts';
import { ApiServer } from '../../embedded-api/api-server.ts';
import { Faults } from '../../embedded-api/faults.ts';
import { Storage } from '../../embedded-api/storage.ts';
import { WatchHub } from '../../embedded-api/watch.ts';

export interface InProcessApi {
  readonly http: HttpClient;
  /** Rises with every write. */
  readonly version: () => number;
  readonly close: () => void;
}

export function createInProcessApi(): InProcessApi {
  const storage = new Storage({ file: ':memory:', historyLimit: 1000, firstVersion: 1 });
  const nowMs = (): number => 1_767_225_600_000; // some day: ages are of no interest
  const watches = new WatchHub({ storage, nowMs, bookmarkIntervalMs: 60_000 });
  const faults = new Faults(() => undefined);
  const api = new ApiServer({ storage, watches, faults, faultsEnabled: false, token: undefined, nowMs });
  const listener = api.createListener();

  const answer = (method: string, path: string, body: unknown): Promise<CollectedResponse> =>
    new Promise((resolve) => {
      const bytes = body === undefined ? [] : [Buffer.from(JSON.stringify(body))];
      const headers = { accept: 'application/json', 'content-type': 'application/json' };
      const request = Object.assign(Readable.from(bytes), { method, url: path, headers });
      const response = new CollectedResponse(resolve);
      // as: all of both that the server touches for these requests
      listener.emit('request', request as unknown as IncomingMessage, response as unknown as ServerResponse);
    });

  return {
    http: {
      json: async ({ action, method, path, body }) => {
        const { statusCode, text } = await answer(method, path, body);
        const received = JSON.parse(text) as unknown;
        if (statusCode < 300) return received;
        throw statusError({ action, status: statusCode, body: received, method });
      },
      stream: () => Promise.reject(new Error('there are no watches without a socket')),
      close: () => undefined,
    },
    version: () => storage.current,
    close: () => {
      api.close();
      watches.close();
      storage.close();
    },
  };
}

class CollectedResponse {
  statusCode = 200;
  text = '';
  headersSent = false;
  readonly destroyed = false;
  readonly #done: (response: CollectedResponse) => void;

  constructor(done: (response: CollectedResponse) => void) {
    this.#done = done;
  }

  writeHead(code: number): void {
    this.statusCode = code;
    this.headersSent = true;
  }

  end(bytes: Uint8Array): void {
    this.text = Buffer.from(bytes).toString();
    this.#done(this);
  }
}
