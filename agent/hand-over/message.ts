// What an old and a new agent of a node say to each other when the new one takes over, as text datagrams (packet-socket.ts):
//
//   new ──hello──▶ old      new ◀──descriptors (TUN, receive, send…)── old        old goes on; new warms up
//   new ───go────▶ old      new ◀──────────────yours──────────────── old        old has stopped; it resumes when the connection ends
//
// An old agent that has no turn to give, because it is about to take over itself or another new one came first, says `busy`.
// Protocol 1 stays understood by every later version; fields that are not known are ignored.
import { type Decoded, decoded, refused } from '../../proto/decoded.ts';

export const PROTOCOL = 1;

export type HandOverMessage =
  | { readonly kind: 'hello'; readonly protocol: number; readonly version: string }
  | {
      readonly kind: 'descriptors';
      readonly version: string;
      /** What the sockets are bound to, such as "192.0.2.1:6784". */
      readonly bound: string;
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
      const { kind, version, bound } = message;
      return typeof version === 'string' && typeof bound === 'string'
        ? decoded({ kind, version, bound })
        : refused('malformed');
    }
    default:
      return refused(message === undefined ? 'malformed' : 'unknown');
  }
}

function fieldsOf(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}
