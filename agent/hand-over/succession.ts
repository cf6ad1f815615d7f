// A keeper as its successor sees it: it listens for a new agent of the node, passes its descriptors and, when that one is warm, lets go.
// Invariant: at most one successor at a time; while it has let go it holds the descriptors still, and goes on when the successor ends.
//
//   waiting ──inCharge──▶ in charge ◀──▶ offered (a successor warms up) ──go──▶ letting go ──▶ let go ──successor ended──▶ in charge
import { acceptConnection, receivePacket, sendPacket } from '../linux/packet-socket.ts';
import { libc } from '../linux/libc.ts';
import { READABLE, type Readiness } from '../linux/readiness.ts';
import { SOCK_SEQPACKET, connectTo, listenAt } from '../linux/unix-address.ts';
import { type DescriptorSet, toDescriptorList } from './descriptor-list.ts';
import { type HandOverMessage, PROTOCOL_WITH_WORKERS, decodeHandOver, encodeHandOver } from './message.ts';

export interface SuccessionOptions {
  /** Of the socket at which keepers listen. */
  readonly path: string;
  readonly version: string;
  readonly readiness: Readiness;
  /** What the sockets are bound to, such as "192.0.2.1:6784". */
  readonly bound: string;
  readonly descriptors: DescriptorSet;
  /** A successor warms up; it has that version. */
  readonly offered: (version: string) => void;
  /**
   * Stops everything that uses the descriptors; resolves when that has ended. `served`: how many workers' the successor knows of, the
   * others' are to be out of use then.
   */
  readonly letGo: (served: number) => Promise<void>;
  /** The successor, which had taken over or not, is no more. */
  readonly ended: (hadTakenOver: boolean) => void;
}

export interface Succession {
  /** From now on a successor gets an offer; before, it is told to ask again later. */
  inCharge(): void;
  /** Listens no more. */
  close(): void;
}

const BACKLOG = 16;

type State = 'waiting' | 'in_charge' | 'offered' | 'letting_go' | 'let_go';

/** Listens from now on. Throws OperationError. */
export function openSuccession(options: SuccessionOptions): Succession {
  const { path, readiness } = options;
  let state: State = 'waiting';
  let stopListening = (): void => undefined;

  const listen = (): void => {
    stopListening();
    const listener = listenAt({ path, type: SOCK_SEQPACKET, backlog: BACKLOG });
    const unwatch = readiness.watch(listener, READABLE, () => accept(listener));
    stopListening = () => {
      unwatch();
      libc.close(listener);
      stopListening = () => undefined;
    };
  };

  const accept = (listener: number): void => {
    const fd = acceptConnection(listener);
    if (fd === undefined) return;
    const unwatch = readiness.watch(fd, READABLE, () => {
      const packet = receivePacket(fd);
      if (packet === 'nothing') return;
      const message = packet === 'ended' ? undefined : decodeHandOver(packet.text);
      if (packet !== 'ended') for (const each of packet.descriptors) libc.close(each);
      if (message?.ok === true && handle(fd, message.value)) return;
      unwatch();
      libc.close(fd);
      if (fd === successor) lose();
    });
  };

  let successor: number | undefined;
  /** How many workers' descriptors it got. */
  let served = 0;

  /** False when the connection is to end. */
  const handle = (fd: number, message: HandOverMessage): boolean => {
    if (message.kind === 'hello') return offer(fd, message);
    if (message.kind !== 'go' || fd !== successor || state !== 'offered') return false;
    state = 'letting_go';
    stopListening(); // the successor listens at the path by now
    void options.letGo(served).then(() => {
      if (state !== 'letting_go') return; // it ended meanwhile
      state = 'let_go';
      sendPacket(fd, encodeHandOver({ kind: 'yours' }));
    });
    return true;
  };

  const offer = (fd: number, { version, protocol }: { version: string; protocol: number }): boolean => {
    if (state !== 'in_charge') {
      sendPacket(fd, encodeHandOver({ kind: 'busy' }));
      return false;
    }
    const { descriptors, bound } = options;
    const workers = descriptors.workers.slice(0, protocol >= PROTOCOL_WITH_WORKERS ? undefined : 1);
    const text = encodeHandOver({
      kind: 'descriptors',
      version: options.version,
      bound,
      workers: workers.length,
    });
    if (!sendPacket(fd, text, toDescriptorList({ ...descriptors, workers }))) return false;
    served = workers.length;
    state = 'offered';
    successor = fd;
    options.offered(version);
    return true;
  };

  const lose = (): void => {
    successor = undefined;
    const hadTakenOver = state === 'letting_go' || state === 'let_go';
    if (hadTakenOver && somebodyElseListens()) return; // a successor's successor is in charge
    state = 'in_charge';
    listen(); // again: the successor's socket may be at the path
    options.ended(hadTakenOver);
  };

  const somebodyElseListens = (): boolean => {
    const fd = connectTo({ path, type: SOCK_SEQPACKET });
    if (fd !== undefined) libc.close(fd);
    return fd !== undefined;
  };

  listen();
  return {
    inCharge() {
      state = 'in_charge';
    },
    close: () => stopListening(),
  };
}
