// How the server words its answers: results and errors in the version of the configuration, and the CNI code of each operation error.
import {
  CNI_CODE,
  type CniError,
  type CniVersion,
  NEWEST_CNI_VERSION,
  formatError,
  isCniVersion,
} from '../../../proto/cni.ts';
import { decodeText, encodeResponse } from '../../../proto/shim-codec.ts';
import { codeOf } from '../../operation-error.ts';

/** CNI code of an OperationError's code; all others are I/O failures. */
const CNI_CODES: Readonly<Record<string, number>> = {
  ALREADY_ATTACHED: CNI_CODE.invalidEnvironment,
  ALREADY_ALLOCATED: CNI_CODE.invalidEnvironment,
  EEXIST: CNI_CODE.invalidEnvironment,
  NOT_A_POD_NAMESPACE: CNI_CODE.invalidEnvironment,
  CONTAINER_ID_TOO_LONG: CNI_CODE.invalidEnvironment,
  UNKNOWN_ATTACHMENT: CNI_CODE.unknownContainer,
  NOT_READY: CNI_CODE.tryAgainLater,
  NO_BRIDGE: CNI_CODE.tryAgainLater,
  NO_BLOCK: CNI_CODE.tryAgainLater,
  POOL_EXHAUSTED: CNI_CODE.tryAgainLater,
};

export type Failure = { readonly ok: false; readonly error: CniError };

export const failed = (error: CniError): Failure => ({ ok: false, error });

/** The answer to what a recipe threw; our own bugs are thrown on. */
export const failedBy = (error: unknown): Failure => {
  const code = codeOf(error);
  if (code === 'UNKNOWN') throw error; // our own bug
  return failed({
    code: CNI_CODES[code] ?? CNI_CODE.ioFailure,
    msg: error instanceof Error ? error.message : String(error),
    details: code,
  });
};

export type Done = { readonly ok: true; readonly json: object | undefined } | Failure;
export const done = (json?: object): Done => ({ ok: true, json });

export const encodeAnswer = (version: CniVersion, answer: Done): Uint8Array => {
  const json = answer.ok ? answer.json : formatError(version, answer.error);
  return encodeResponse({
    status: answer.ok ? 0 : 1,
    json: json === undefined ? '' : `${JSON.stringify(json)}\n`,
  });
};

/** undefined (which no JSON text gives) for what is not JSON. */
export function parseJson(bytes: Uint8Array): unknown {
  const text = decodeText(bytes);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // SyntaxError: the decoder of what it should have been says so
  }
}

/** The version to answer in: the configuration's, where we speak it. */
export function versionOf(json: unknown): CniVersion {
  const version =
    typeof json === 'object' && json !== null && 'cniVersion' in json ? json.cniVersion : undefined;
  return isCniVersion(version) ? version : NEWEST_CNI_VERSION;
}
