// What an old and a new agent of a node say to each other when the new one takes over, as text datagrams (packet-socket.ts):
//
//   new ──hello──▶ old      new ◀──descriptors (descriptor-list.ts)── old         old goes on; new warms up
//   new ───go────▶ old      new ◀──────────────yours──────────────── old        old has stopped; it resumes when the connection ends
//
// An old agent that has no turn to give, because it is about to take over itself or another new one came first, says `busy`.
// Protocol 1 stays understood by every later version; fields that are not known are ignored. Protocol 2 knows of several workers.
import { type Decoded, decoded, refused } from '../../proto/decoded.ts';
import { MOST_WORKERS } from '../../proto/worker-files.ts';

export const PROTOCOL = 2;
/** From this protocol on an agent serves more than one worker's descriptors. */
export const PROTOCOL_WITH_WORKERS = 2;

export type HandOverMessage =
  | { readonly kind: 'hello'; readonly protocol: number; readonly version: string }
  | {
      readonly kind: 'descriptors';
      readonly version: string;
      /** What the sockets are bound to, such as "192.0.2.1:6784". */
      readonly bound: string;
      /** Whose descriptors are with it; an agent that does not say has one. */
      readonly workers: number;
    }
  | { readonly kind: 'busy' | 'go' | 'yours' };

export const encodeHandOver = (message: HandOverMessage): string => JSON.stringify(message);

export function decodeHandOver(text: string): Decoded<HandOverMessage, 'malformed' | 'unknown'> {
  const message = fieldsOf(text);
  switch (message?.kind) {
    case 'busy':
    case 'go':
    case 'yours':
      return decoded({ kind: message.kind });
    case 'hello': {
      const { kind, protocol, version } = message;
      return typeof protocol === 'number' && typeof version === 'string'
        ? decoded({ kind, protocol, version })
        : refused('malformed');
    }
    case 'descriptors': {
      const { kind, version, bound, workers = 1 } = message;
      return typeof version === 'string' && typeof bound === 'string' && isWorkerCount(workers)
        ? decoded({ kind, version, bound, workers })
        : refused('malformed');
    }
    default:
      return refused(message === undefined ? 'malformed' : 'unknown');
  }
}

const isWorkerCount = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= MOST_WORKERS;

function fieldsOf(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}
