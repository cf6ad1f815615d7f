// Requests to the API server over node:http(s): JSON in and out with a deadline, an abort and a size limit, and byte streams for
// watches. Invariant: every failure is one OperationError with a code of ApiErrorCode; nothing is logged here.
// Reads share kept-alive connections and are repeated once when such a connection turns out to be closed; writes use a fresh one.
import http from 'node:http';
import https from 'node:https';

import { OperationError, codeOf } from '../operation-error.ts';
import type { ApiEndpoint, TlsMaterial } from './api-endpoint.ts';
import { statusError } from './api-status.ts';
import { type Clock, systemClock } from './clock.ts';

export interface JsonRequest {
  /** Completes "Cannot …" in errors. */
  readonly action: string;
  /** The body of a PATCH is a merge patch (RFC 7396). */
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** With the query. */
  readonly path: string;
  readonly body?: unknown;
  /** For the whole exchange. */
  readonly deadlineMs?: number;
  readonly maxBytes?: number;
  readonly signal?: AbortSignal;
}

export interface StreamRequest {
  readonly action: string;
  readonly path: string;
  readonly signal: AbortSignal;
  /** Until the head of the answer. */
  readonly deadlineMs?: number;
}

export interface StreamSink {
  chunk(bytes: Uint8Array): void;
  /** Once; undefined when the server closed in order. Never called after the caller's abort. */
  end(error: OperationError | undefined): void;
}

export interface HttpClient {
  /** The parsed body of a 2xx answer. */
  json(request: JsonRequest): Promise<unknown>;
  /** Resolves when a 2xx head has come; from then on the sink is told. */
  stream(request: StreamRequest, sink: StreamSink): Promise<void>;
  /** Ends every connection. */
  close(): void;
}

export interface HttpClientOptions {
  readonly endpoint: ApiEndpoint;
  readonly userAgent: string;
  readonly clock?: Clock;
  /** One exchange ended its head: `code` is the HTTP status, or the error's code when there was no answer. */
  readonly observe?: (exchange: {
    readonly method: string;
    readonly path: string;
    readonly code: string;
    readonly seconds: number;
  }) => void;
  /** Bytes of a body, as they go and come. */
  readonly transferred?: (part: {
    readonly path: string;
    readonly direction: 'sent' | 'received';
    readonly bytes: number;
  }) => void;
}

/** A server under load answers late rather than never; a path that is dead is found by keep-alive, earlier. */
const DEADLINE_MS = 30_000;
const MAX_BYTES = 64 << 20;
const ERROR_BYTES = 64 << 10;
/** Linux then probes every second, ten times (libuv's choice): a dead path is known after 25 s even if nobody sends. */
export const KEEP_ALIVE_MS = 15_000;

interface Agents {
  readonly tls: TlsMaterial | undefined;
  readonly pooled: http.Agent;
  readonly fresh: http.Agent;
}

interface Exchange {
  readonly action: string;
  readonly method: string;
  readonly path: string;
  readonly payload?: string;
  readonly signal: AbortSignal | undefined;
  readonly deadlineMs: number;
}

export function createHttpClient({
  endpoint,
  userAgent,
  clock = systemClock,
  observe,
  transferred = () => undefined,
}: HttpClientOptions): HttpClient {
  const { address } = endpoint;
  const secure = address.kind === 'tcp' && address.secure;
  let agents: Agents | undefined;
  let closed = false;

  function agentsFor(tls: TlsMaterial | undefined): Agents {
    if (agents !== undefined && agents.tls === tls) return agents;
    // New credentials: connections made with the old ones end, their owners reconnect.
    agents?.pooled.destroy();
    const options = { ...tls, keepAliveMsecs: KEEP_ALIVE_MS, maxFreeSockets: 2 };
    const { Agent } = secure ? https : http;
    const pooled = new Agent({ ...options, keepAlive: true });
    agents = { tls, pooled, fresh: new Agent({ ...options, keepAlive: false }) };
    return agents;
  }

  /** Resolves with the head. `cancelDeadline` is the caller's from then on. */
  async function exchange(
    options: Exchange,
  ): Promise<{ response: http.IncomingMessage; cancelDeadline: () => void; expired: () => boolean }> {
    if (closed) throw failure(options.action, 'ABORTED', 'the client is closed');
    const [authorization, tls] = await Promise.all([endpoint.authorization(), endpoint.tls()]);
    if (options.signal?.aborted === true) throw failure(options.action, 'ABORTED', 'it was given up');
    const { pooled, fresh } = agentsFor(tls);
    const request = (secure ? https : http).request({
      method: options.method,
      path: (address.kind === 'tcp' ? address.pathPrefix : '') + options.path,
      agent: options.method === 'GET' ? pooled : fresh,
      ...(address.kind === 'unix'
        ? { socketPath: address.socketPath }
        : { host: address.host, port: address.port }),
      headers: {
        accept: 'application/json',
        'user-agent': userAgent,
        ...(authorization === undefined ? {} : { authorization }),
        ...(options.payload === undefined
          ? {}
          : {
              'content-type':
                options.method === 'PATCH' ? 'application/merge-patch+json' : 'application/json',
              'content-length': Buffer.byteLength(options.payload),
            }),
      },
    });
    // Not the option `signal` of node:http: its error hits the socket even after that went back to the pool, where nobody listens.
    const abort = (): void => void request.destroy();
    options.signal?.addEventListener('abort', abort);
    request.on('close', () => options.signal?.removeEventListener('abort', abort));
    let expired = false;
    const cancelDeadline = clock.setTimer(options.deadlineMs, () => {
      expired = true;
      request.destroy();
    });
    request.on('socket', (socket) => socket.setKeepAlive(true, KEEP_ALIVE_MS));
    const startedAt = clock.now();
    const ended = (code: string): void =>
      observe?.({
        method: options.method,
        path: options.path,
        code,
        seconds: (clock.now() - startedAt) / 1000,
      });
    request.end(options.payload);
    try {
      const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
        request.on('response', resolve);
        request.on('error', reject);
      });
      ended(String(response.statusCode));
      if (options.payload !== undefined) {
        transferred({ path: options.path, direction: 'sent', bytes: Buffer.byteLength(options.payload) });
      }
      return { response, cancelDeadline, expired: () => expired };
    } catch (error) {
      cancelDeadline();
      if (closedWhileIdle(request, error) && !expired && options.method === 'GET') return exchange(options);
      const failed = closed
        ? failure(options.action, 'ABORTED', 'the client is closed', error)
        : connectionError(options, error, expired);
      ended(failed.code);
      throw failed;
    }
  }

  const receivedOf =
    (path: string) =>
    (bytes: number): void =>
      transferred({ path, direction: 'received', bytes });

  async function refusal(options: Exchange, response: http.IncomingMessage): Promise<OperationError> {
    let body: unknown;
    try {
      body = JSON.parse(await collect(response, ERROR_BYTES, receivedOf(options.path)));
    } catch {
      response.destroy(); // No Status object: the HTTP status alone says what is to be said.
    }
    return statusError({
      action: options.action,
      method: options.method,
      status: response.statusCode ?? 0,
      retryAfter: response.headers['retry-after'],
      body,
      authorization: await endpoint.authorization(),
    });
  }

  return {
    async json(request) {
      const options: Exchange = {
        ...request,
        ...(request.body === undefined ? {} : { payload: JSON.stringify(request.body) }),
        signal: request.signal,
        deadlineMs: request.deadlineMs ?? DEADLINE_MS,
      };
      const { response, cancelDeadline, expired } = await exchange(options);
      try {
        if (!successful(response)) throw await refusal(options, response);
        const text = await collect(response, request.maxBytes ?? MAX_BYTES, receivedOf(request.path));
        return parseJson(text, request.action);
      } catch (error) {
        response.destroy();
        if (error instanceof TooLarge) {
          const limit = request.maxBytes ?? MAX_BYTES;
          throw failure(request.action, 'TOO_LARGE', `the answer is larger than ${limit} bytes`);
        }
        throw error instanceof OperationError ? error : connectionError(options, error, expired());
      } finally {
        cancelDeadline();
      }
    },

    async stream(request, sink) {
      const options: Exchange = {
        ...request,
        method: 'GET',
        deadlineMs: request.deadlineMs ?? DEADLINE_MS,
      };
      const { response, cancelDeadline, expired } = await exchange(options);
      try {
        if (!successful(response)) throw await refusal(options, response);
      } catch (error) {
        throw error instanceof OperationError ? error : connectionError(options, error, expired());
      } finally {
        cancelDeadline();
      }
      let ended = false;
      const end = (error: unknown): void => {
        if (ended || request.signal.aborted) return;
        ended = true;
        sink.end(error === undefined ? undefined : connectionError(options, error, false));
      };
      const received = receivedOf(request.path);
      response.on('data', (chunk: Buffer) => {
        received(chunk.length);
        if (!request.signal.aborted) sink.chunk(chunk);
      });
      response.on('end', () => end(undefined));
      response.on('error', end);
      response.on('close', () => end(new Error('the connection was closed in the middle')));
    },

    close() {
      closed = true;
      agents?.pooled.destroy();
      agents?.fresh.destroy();
    },
  };
}

class TooLarge extends Error {}

const successful = (response: http.IncomingMessage): boolean =>
  response.statusCode !== undefined && response.statusCode >= 200 && response.statusCode < 300;

const closedWhileIdle = (request: http.ClientRequest, error: unknown): boolean =>
  request.reusedSocket && ['ECONNRESET', 'EPIPE'].includes(codeOf(error));

async function collect(
  response: http.IncomingMessage,
  limit: number,
  received: (bytes: number) => void,
): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response) {
    const bytes = chunk as Buffer; // as: no encoding is set on the response
    length += bytes.length;
    received(bytes.length);
    if (length > limit) throw new TooLarge();
    chunks.push(bytes);
  }
  return Buffer.concat(chunks, length).toString('utf8');
}

function parseJson(text: string, action: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw failure(action, 'MALFORMED', 'the API server answered something that is not JSON', error);
  }
}

function connectionError(options: Exchange, error: unknown, expired: boolean): OperationError {
  const { action } = options;
  if (expired) {
    return failure(action, 'UNAVAILABLE', `no answer within ${options.deadlineMs} ms`, error);
  }
  if (options.signal?.aborted === true) return failure(action, 'ABORTED', 'it was given up', error);
  const reason = error instanceof Error ? error.message : String(error);
  return failure(action, 'UNAVAILABLE', `${reason || 'connection lost'} (${codeOf(error)})`, error);
}

const failure = (action: string, code: string, reason: string, cause?: unknown): OperationError =>
  new OperationError(`Cannot ${action}: ${reason}`, { code, ...(cause === undefined ? {} : { cause }) });
