// The HTTP face: authentication, faults, discovery, resources; every failure leaves as a Status object and every request is counted.
import { createHash, timingSafeEqual } from 'node:crypto';
import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';

import { ApiFailure, badRequest, noSuchPath, methodNotAllowed, unauthorized } from './api-failure.ts';
import { ConnectionResets } from './connection-reset.ts';
import { discoveryDocument } from './discovery.ts';
import { answerFaultRequest } from './fault-requests.ts';
import type { FaultAction, Faults } from './faults.ts';
import { type Exchange, send, sendStatus } from './http-exchange.ts';
import { openApiV2 } from './openapi-v2.ts';
import { openApiV3 } from './openapi.ts';
import { parseTarget, verbOf, type RequestTarget } from './request-target.ts';
import { resourceName, type ApiVerb } from './resource-kinds.ts';
import { ResourceRequests } from './resource-requests.ts';
import type { Storage } from './storage.ts';
import type { WatchHub } from './watch.ts';

/** What the real server answers without a token too. */
const PUBLIC_PATHS = /^\/(healthz|readyz|livez)(\/|$)|^\/version\/?$/;

export interface ApiServerParts {
  readonly storage: Storage;
  readonly watches: WatchHub;
  readonly faults: Faults;
  readonly faultsEnabled: boolean;
  /** Undefined only where the socket's own permissions are the authentication. */
  readonly token: string | undefined;
  readonly nowMs: () => number;
}

export class ApiServer {
  readonly #parts: ApiServerParts;
  readonly #resources: ResourceRequests;
  readonly #tokenDigest: Buffer | undefined;
  readonly #resets = new ConnectionResets();

  constructor(parts: ApiServerParts) {
    this.#parts = parts;
    this.#resources = new ResourceRequests(parts);
    this.#tokenDigest = parts.token === undefined ? undefined : digest(parts.token);
  }

  /** A server that answers with this API, not listening yet; with TLS when a certificate is given. */
  createListener(tls?: { readonly cert: Buffer; readonly key: Buffer }): Server {
    const answer = (request: IncomingMessage, response: ServerResponse): void => {
      void this.#answer(request, response); // it answers every failure itself; anything else is our bug and ends the process
    };
    const server = tls === undefined ? createServer(answer) : createTlsServer(tls, answer);
    server.keepAliveTimeout = 120_000;
    this.#resets.follow(server);
    return server;
  }

  close(): void {
    this.#resources.close();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const url = URL.parse(request.url ?? '/', 'http://server.invalid');
      if (url === null) throw badRequest('the request target is not a URL');
      const exchange: Exchange = { request, response, path: url.pathname, query: url.searchParams };
      if (!PUBLIC_PATHS.test(exchange.path) && !this.#isAuthentic(request)) throw unauthorized();
      await this.#route(exchange);
    } catch (error) {
      if (isAborted(error)) return;
      sendStatus(response, failureOf(error).status);
    }
  }

  #isAuthentic(request: IncomingMessage): boolean {
    if (this.#tokenDigest === undefined) return true;
    const given = /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1];
    return given !== undefined && timingSafeEqual(digest(given), this.#tokenDigest);
  }

  async #route(exchange: Exchange): Promise<void> {
    const { request, response, path } = exchange;
    if (path.startsWith('/faults') && this.#parts.faultsEnabled) {
      return answerFaultRequest(exchange, { ...this.#parts, resets: this.#resets });
    }
    const target = parseTarget(path);
    if (target !== undefined) return this.#answerResource(exchange, target);
    if (request.method !== 'GET' && request.method !== 'HEAD') throw noSuchPath();
    if (/^\/(healthz|readyz|livez)(\/|$)/.test(path)) {
      return send(response, {
        code: 200,
        body: 'ok',
        headers: { 'content-type': 'text/plain; charset=utf-8' },
      });
    }
    if (path === '/openapi/v2') {
      const { type, bytes } = openApiV2(request.headers.accept);
      response.writeHead(200, { 'content-type': type, 'content-length': String(bytes.length) });
      response.end(bytes);
      return undefined;
    }
    const document = discoveryDocument(path) ?? openApiV3(path);
    if (document === undefined) throw noSuchPath();
    return send(response, { code: 200, body: document });
  }

  async #answerResource(exchange: Exchange, target: RequestTarget): Promise<void> {
    const { request, response, query } = exchange;
    const verb = verbOf(request.method ?? '', target, query);
    if (verb === undefined) throw methodNotAllowed();
    const resource = resourceName(target.kind);
    const { faults, storage } = this.#parts;
    const fault = faults.meet({ verb, resource, name: target.name });
    let code = 0;
    try {
      if (fault !== undefined && this.#meetFault(fault, { exchange, verb })) return;
      const staleAt = fault?.action === 'stale-list' ? storage.current - fault.versionsBack : undefined;
      await this.#resources.answer({ exchange, target, verb, staleAt });
      code = response.statusCode;
    } catch (error) {
      if (!isAborted(error)) code = failureOf(error).status.code;
      throw error;
    } finally {
      faults.count({ verb, resource, code });
    }
  }

  /** True when the request has met its fault and is not to be answered. Throws the failure that it is to be answered with. */
  #meetFault(fault: FaultAction, request: { exchange: Exchange; verb: ApiVerb }): boolean {
    const { response } = request.exchange;
    switch (fault.action) {
      case 'respond':
        throw fault.failure;
      case 'stall':
        if (request.verb === 'watch') {
          response.writeHead(200, { 'content-type': 'application/json' });
          response.flushHeaders();
        }
        return true;
      case 'reset':
        this.#resets.reset(response.socket);
        return true;
      case 'stale-list':
      case 'drop-event':
        return false;
      default:
        return fault satisfies never;
    }
  }
}

/** A failure of SQLite (disk full, I/O error) is answered; what is neither that nor a refusal is our bug and is thrown on. */
function failureOf(error: unknown): ApiFailure {
  if (error instanceof ApiFailure) return error;
  if (error instanceof Error && 'code' in error && error.code === 'ERR_SQLITE_ERROR') {
    const message = `Internal error occurred: ${error.message}`;
    return new ApiFailure({ code: 500, reason: 'InternalError', message });
  }
  if (error instanceof RangeError) return badRequest('the object is nested too deeply'); // the stack of a recursive walk
  throw error;
}

/** The client went away while its body was read. */
const isAborted = (error: unknown): boolean =>
  error instanceof Error &&
  'code' in error &&
  (error.code === 'ECONNRESET' || error.code === 'ERR_STREAM_PREMATURE_CLOSE');

const digest = (token: string): Buffer => createHash('sha256').update(token).digest();
