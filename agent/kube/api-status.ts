// What an answer of the API server that is not 2xx means: one code out of a closed list, with the server's own words quoted.
// A Status object is input: anything that is not one is replaced by what the HTTP status says.
import { OperationError } from '../operation-error.ts';
import { withoutSecrets } from '../secrets.ts';

/** Codes of requests. TOO_LARGE and MALFORMED describe an answer, ABORTED the caller's own abort. */
export type ApiErrorCode =
  | 'CONFLICT'
  | 'ALREADY_EXISTS'
  | 'NOT_FOUND'
  | 'GONE'
  | 'FORBIDDEN'
  | 'UNAUTHORIZED'
  | 'INVALID'
  | 'THROTTLED'
  | 'UNAVAILABLE'
  | 'TOO_LARGE'
  | 'MALFORMED'
  | 'ABORTED';

export interface ApiAnswer {
  /** Completes "Cannot …". */
  readonly action: string;
  readonly status: number;
  /** The Status object, or anything else that came. */
  readonly body: unknown;
  readonly method?: string;
  readonly retryAfter?: string | undefined;
  /** The credentials that were sent, as their header has them. */
  readonly authorization?: string | undefined;
}

const LONGEST_QUOTE = 500;
const LONGEST_RETRY_AFTER_MS = 300_000;

export function statusError(answer: ApiAnswer): OperationError {
  const { action, status } = answer;
  const details = statusOf(answer.body);
  const code = codeFor(status, details.reason, answer.method);
  const retryAfterMs = retryAfterOf(answer.retryAfter) ?? details.retryAfterMs;
  const words =
    details.message === undefined
      ? ''
      : `: ${quote(withoutSecrets(details.message, sent(answer.authorization)))}`;
  return new OperationError(`Cannot ${action}: the API server answered ${status}${words}`, {
    code,
    context: { status, reason: details.reason, retryAfterMs },
  });
}

function codeFor(status: number, reason: string | undefined, method: string | undefined): ApiErrorCode {
  if (status === 409) {
    if (reason === 'AlreadyExists') return 'ALREADY_EXISTS';
    return reason !== 'Conflict' && method === 'POST' ? 'ALREADY_EXISTS' : 'CONFLICT';
  }
  return CODES.get(status) ?? 'UNAVAILABLE';
}

const CODES = new Map<number, ApiErrorCode>([
  [400, 'INVALID'],
  [401, 'UNAUTHORIZED'],
  [403, 'FORBIDDEN'],
  [404, 'NOT_FOUND'],
  [410, 'GONE'],
  [413, 'INVALID'],
  [422, 'INVALID'],
  [429, 'THROTTLED'],
]);

interface StatusDetails {
  readonly message?: string;
  readonly reason?: string;
  readonly retryAfterMs?: number;
}

function statusOf(body: unknown): StatusDetails {
  if (!isRecord(body)) return {};
  const seconds = isRecord(body['details']) ? body['details']['retryAfterSeconds'] : undefined;
  return {
    ...(typeof body['message'] === 'string' ? { message: body['message'] } : {}),
    ...(typeof body['reason'] === 'string' ? { reason: body['reason'].slice(0, 100) } : {}),
    ...(typeof seconds === 'number' && seconds > 0
      ? { retryAfterMs: Math.min(seconds * 1000, LONGEST_RETRY_AFTER_MS) }
      : {}),
  };
}

/** Seconds only: the API server never sends a date. */
function retryAfterOf(header: string | undefined): number | undefined {
  if (header === undefined || !/^\d{1,6}$/.test(header)) return undefined;
  return Math.min(Number(header) * 1000, LONGEST_RETRY_AFTER_MS);
}

/** Proxies before the API server quote the request in their refusals, and with it the token that was sent. */
const sent = (authorization = ''): readonly string[] => authorization.split(' ').slice(-1);

/** On one line and bounded: it ends up in the log. */
export const quote = (text: string): string =>
  JSON.stringify(text.length > LONGEST_QUOTE ? `${text.slice(0, LONGEST_QUOTE)}…` : text);

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
