// What a request can be answered with when it fails: one error class that carries the Status object, worded as the real API
// server words it (k8s.io/apimachinery/pkg/api/errors). Clients decide on code and reason; people read the message.
import type { Violation } from '../proto/api-validation.ts';
import { type ResourceKind, resourceName } from './resource-kinds.ts';

export interface StatusDetails {
  readonly name?: string;
  readonly group?: string;
  readonly kind?: string;
  readonly uid?: string;
  readonly causes?: readonly {
    readonly reason?: string;
    readonly message: string;
    readonly field?: string;
  }[];
  readonly retryAfterSeconds?: number;
}

export interface Status {
  readonly kind: 'Status';
  readonly apiVersion: 'v1';
  readonly metadata: { readonly continue?: string };
  readonly status: 'Failure' | 'Success';
  readonly message?: string;
  readonly reason?: string;
  readonly details?: StatusDetails;
  readonly code: number;
}

export class ApiFailure extends Error {
  readonly status: Status;

  constructor(options: {
    code: number;
    reason: string;
    message: string;
    details?: StatusDetails;
    continueToken?: string;
  }) {
    super(options.message);
    this.name = 'ApiFailure';
    this.status = {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: options.continueToken === undefined ? {} : { continue: options.continueToken },
      status: 'Failure',
      message: options.message,
      ...(options.reason === '' ? {} : { reason: options.reason }),
      ...(options.details === undefined ? {} : { details: options.details }),
      code: options.code,
    };
  }
}

const details = (kind: ResourceKind, name: string): StatusDetails => ({
  name,
  ...(kind.group === '' ? {} : { group: kind.group }),
  kind: kind.plural,
});

export const notFound = (kind: ResourceKind, name: string): ApiFailure =>
  new ApiFailure({
    code: 404,
    reason: 'NotFound',
    message: `${resourceName(kind)} "${name}" not found`,
    details: details(kind, name),
  });

export const noSuchPath = (): ApiFailure =>
  new ApiFailure({
    code: 404,
    reason: 'NotFound',
    message: 'the server could not find the requested resource',
    details: {},
  });

export const alreadyExists = (kind: ResourceKind, name: string): ApiFailure =>
  new ApiFailure({
    code: 409,
    reason: 'AlreadyExists',
    message: `${resourceName(kind)} "${name}" already exists`,
    details: details(kind, name),
  });

export const MODIFIED =
  'the object has been modified; please apply your changes to the latest version and try again';

export const conflict = (kind: ResourceKind, name: string, cause: string = MODIFIED): ApiFailure =>
  new ApiFailure({
    code: 409,
    reason: 'Conflict',
    message: `Operation cannot be fulfilled on ${resourceName(kind)} "${name}": ${cause}`,
    details: details(kind, name),
  });

export const badRequest = (message: string): ApiFailure =>
  new ApiFailure({ code: 400, reason: 'BadRequest', message });

export const methodNotAllowed = (): ApiFailure =>
  new ApiFailure({
    code: 405,
    reason: 'MethodNotAllowed',
    message: 'the server does not allow this method on the requested resource',
    details: {},
  });

export const unauthorized = (): ApiFailure =>
  new ApiFailure({ code: 401, reason: 'Unauthorized', message: 'Unauthorized' });

export const unsupportedMediaType = (accepted: readonly string[]): ApiFailure =>
  new ApiFailure({
    code: 415,
    reason: 'UnsupportedMediaType',
    message: `the body of the request was in an unknown format - accepted media types include: ${accepted.join(', ')}`,
  });

export const expired = (message: string, continueToken?: string): ApiFailure =>
  new ApiFailure({
    code: 410,
    reason: 'Expired',
    message,
    ...(continueToken === undefined ? {} : { continueToken }),
  });

export const tooLargeVersion = (requested: number, current: number): ApiFailure =>
  new ApiFailure({
    code: 504,
    reason: 'Timeout',
    message: `Too large resource version: ${requested}, current: ${current}`,
    details: {
      causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }],
      retryAfterSeconds: 1,
    },
  });

const validationFailure = (options: {
  groupKind: string;
  name: string;
  details: StatusDetails;
  violations: readonly { readonly path: string; readonly message: string; readonly reason: string }[];
}): ApiFailure => {
  const sentences = options.violations.map((violation) => `${violation.path}: ${violation.message}`);
  return new ApiFailure({
    code: 422,
    reason: 'Invalid',
    message: `${options.groupKind} "${options.name}" is invalid: ${
      sentences.length === 1 ? sentences[0] : `[${sentences.join(', ')}]`
    }`,
    details: {
      ...options.details,
      causes: options.violations.map(({ path, reason, message }) => ({ reason, message, field: path })),
    },
  });
};

export const invalid = (kind: ResourceKind, name: string, violations: readonly Violation[]): ApiFailure =>
  validationFailure({
    groupKind: kind.group === '' ? kind.kind : `${kind.kind}.${kind.group}`,
    name,
    details: { ...details(kind, name), kind: kind.kind },
    violations,
  });

/** Query parameters of a list or watch that contradict each other. */
export const invalidListOptions = (path: string, message: string): ApiFailure =>
  validationFailure({
    groupKind: 'ListOptions.meta.k8s.io',
    name: '',
    details: { group: 'meta.k8s.io', kind: 'ListOptions' },
    violations: [{ path, message: `Forbidden: ${message}`, reason: 'FieldValueForbidden' }],
  });
