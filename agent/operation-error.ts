// The one error class for operations that can fail: syscalls, sockets, API requests. Wrapped once at the adapter, logged only where
// it is handled; decide on `code`, never on text.

export interface OperationContext {
  readonly [name: string]: string | number | boolean | undefined;
}

/** `code` is stable: an errno name such as ENOENT, or a name in capitals that the throwing function documents. */
export class OperationError extends Error {
  readonly code: string;
  readonly context: OperationContext;

  constructor(message: string, options: { code: string; context?: OperationContext; cause?: unknown }) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.name = 'OperationError';
    this.code = options.code;
    this.context = options.context ?? {};
  }
}

/** The code of anything that was thrown: OperationError's or Node's own `code`, else UNKNOWN. */
export const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'UNKNOWN';
