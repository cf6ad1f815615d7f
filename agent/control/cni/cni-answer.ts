// How the server words its answers: results and errors in the version of the configuration, and the CNI code of each operation error.
import {
  CNI_CODE,
  type CniError,
  type CniVersion,
  NEWEST_CNI_VERSION,
  type NetworkConfig,
  formatError,
  isCniVersion,
} from '../../../proto/cni.ts';
import { decodeText, encodeResponse } from '../../../proto/shim-codec.ts';
import { MAX_RESPONSE_BYTES } from '../../../proto/shim-message.ts';
import type { Allocation } from '../../ipam/address-pool.ts';
import { codeOf } from '../../operation-error.ts';

/** CNI code of an OperationError's code; all others are I/O failures. */
const CNI_CODES: Readonly<Record<string, number>> = {
  ALREADY_ATTACHED: CNI_CODE.invalidEnvironment,
  ALREADY_ALLOCATED: CNI_CODE.invalidEnvironment,
  EEXIST: CNI_CODE.invalidEnvironment,
  NOT_A_POD_NAMESPACE: CNI_CODE.invalidEnvironment,
  CONTAINER_ID_TOO_LONG: CNI_CODE.invalidEnvironment,
  ADDRESS_NOT_HERE: CNI_CODE.addressUnavailable,
  ADDRESS_IN_USE: CNI_CODE.addressUnavailable,
  MAC_IN_USE: CNI_CODE.macUnavailable,
  UNKNOWN_ATTACHMENT: CNI_CODE.unknownContainer,
  NOT_READY: CNI_CODE.tryAgainLater,
  NO_BRIDGE: CNI_CODE.tryAgainLater,
  NO_POD_SET: CNI_CODE.tryAgainLater,
  NO_BLOCK: CNI_CODE.tryAgainLater,
  POOL_EXHAUSTED: CNI_CODE.tryAgainLater,
  LOG_UNWRITABLE: CNI_CODE.tryAgainLater,
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

/** What the node knows of an attachment, for the log. */
export type AttachmentFacts = Pick<Allocation, 'address' | 'hostInterface' | 'podName'>;

/** `attachment`: what was made or removed. */
export type Done =
  | {
      readonly ok: true;
      readonly json: object | undefined;
      readonly attachment?: AttachmentFacts | undefined;
    }
  | Failure;
export const done = (json?: object, attachment?: AttachmentFacts): Done => ({ ok: true, json, attachment });

export const encodeAnswer = (version: CniVersion, answer: Done): Uint8Array => {
  const json = answer.ok ? answer.json : formatError(version, answer.error);
  return encodeResponse({
    status: answer.ok ? 0 : 1,
    json: json === undefined ? '' : `${JSON.stringify(json)}\n`,
  });
};

/** What of the configuration is repeated in the result, in bytes; the whole result must fit into a response. */
const MAX_REPEATED_BYTES = MAX_RESPONSE_BYTES / 2;

/** Undefined when the result will fit. To be asked before anything is made. */
export const refusedSize = ({ dns, fields }: Pick<NetworkConfig, 'dns' | 'fields'>): Failure | undefined => {
  const repeated = JSON.stringify([dns, fields['prevResult']]);
  if (new TextEncoder().encode(repeated).length <= MAX_REPEATED_BYTES) return undefined;
  return failed({
    code: CNI_CODE.invalidConfig,
    msg: `The network configuration's "dns" and "prevResult" are too large: use at most ${MAX_REPEATED_BYTES} bytes`,
  });
};

const UPGRADE = "install the weft CNI plugin of the agent's version";

/** Why a connection was no whole request, in words; reasons of agent/linux/unix-connection.ts, and of the codec. */
const REFUSALS: Readonly<Record<string, string>> = {
  'hung-up': 'A shim hung up before its request was whole; nothing was done. The container runtime ended it',
  'reply-undelivered':
    'A shim was gone before it heard the answer: the container runtime ended it. If the pod does not come up, look for a time limit in its log',
  deadline:
    'A request was not finished in time and its connection was closed; the shim tells the container runtime to try again',
  'peer-not-root':
    'A process that is not root connected to the CNI socket and was refused: find out which one',
};

/** The answer to what is no request that we understand. */
export const unreadable = (reason: string): CniError => ({
  code: CNI_CODE.undecodable,
  msg: REFUSALS[reason] ?? `The agent cannot read the request (${reason}): ${UPGRADE}`,
});

/** JSON.parse takes any depth, JSON.stringify ends with the stack; nothing in CNI is nested deeper than a handful. */
const MAX_DEPTH = 100;

const [QUOTE, BACKSLASH] = [0x22, 0x5c];
const OPENING: ReadonlySet<number> = new Set([0x5b, 0x7b]);
const CLOSING: ReadonlySet<number> = new Set([0x5d, 0x7d]);

function isTooDeep(json: Uint8Array): boolean {
  let depth = 0;
  let inString = false;
  for (let at = 0; at < json.length; at++) {
    const byte = json[at]!; // !: inside
    if (byte === QUOTE) inString = !inString;
    else if (inString) at += byte === BACKSLASH ? 1 : 0; // what is escaped is not looked at
    else if (OPENING.has(byte) && ++depth > MAX_DEPTH) return true;
    else if (CLOSING.has(byte)) depth -= 1;
  }
  return false;
}

/** undefined (which no JSON text gives) for what is not JSON, or nested too deep to be written again. */
export function parseJson(bytes: Uint8Array): unknown {
  const text = isTooDeep(bytes) ? undefined : decodeText(bytes);
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
