// One HTTP request and its answer: the body within its limit, JSON in and out.
import type { IncomingMessage, ServerResponse } from 'node:http';

import { ApiFailure, type Status, badRequest } from './api-failure.ts';
import type { Json } from './api-object.ts';

/** The real server's limit (etcd's request size times two). */
const MAX_BODY_BYTES = 3_145_728;

export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly path: string;
  readonly query: URLSearchParams;
}

export const mediaType = (request: IncomingMessage): string =>
  (request.headers['content-type'] ?? '').split(';')[0]?.trim() ?? '';

/** The body as JSON; undefined when there is none. Throws 400 or 413. */
export async function readJson(request: IncomingMessage): Promise<Json | undefined> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > MAX_BODY_BYTES) {
      const message = `Request entity too large: limit is ${MAX_BODY_BYTES}`;
      throw new ApiFailure({ code: 413, reason: 'RequestEntityTooLarge', message });
    }
    parts.push(part);
  }
  const text = Buffer.concat(parts).toString();
  if (text.trim() === '') return undefined;
  try {
    return JSON.parse(text) as Json; // as: what JSON.parse answers
  } catch (error) {
    throw badRequest(`the object provided is unrecognized: json parse error: ${(error as Error).message}`); // as: SyntaxError
  }
}

export interface Answer {
  readonly code: number;
  readonly body: object | string;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
}

/** A string is passed on as JSON text unless the headers say otherwise. */
export function send(response: ServerResponse, answer: Answer): void {
  if (response.headersSent || response.destroyed) return;
  const bytes = Buffer.from(typeof answer.body === 'string' ? answer.body : JSON.stringify(answer.body));
  response.writeHead(answer.code, {
    'cache-control': 'no-cache, private',
    'content-type': 'application/json',
    'content-length': String(bytes.length),
    ...answer.headers,
  } as Record<string, string>); // as: Node's type wants mutable arrays
  response.end(bytes);
}

export function sendStatus(response: ServerResponse, status: Status): void {
  const retryAfter = status.details?.retryAfterSeconds;
  const headers = retryAfter === undefined ? {} : { 'retry-after': String(retryAfter) };
  send(response, { code: status.code, body: status, headers });
}
