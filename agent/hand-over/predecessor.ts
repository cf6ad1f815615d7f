// The agent that runs on the node already, as a new agent's keeper sees it: who it is, the descriptors that it holds, and its letting go.
// The connection stays open for as long as this process lives: its end tells a predecessor that is still there to go on itself.
import { OperationError } from '../operation-error.ts';
import { libc } from '../linux/libc.ts';
import { receivePacket, sendPacket } from '../linux/packet-socket.ts';
import { READABLE, type Readiness } from '../linux/readiness.ts';
import { SOCK_SEQPACKET, connectTo } from '../linux/unix-address.ts';
import { type DescriptorSet, fromDescriptorList } from './descriptor-list.ts';
import { type HandOverMessage, PROTOCOL, decodeHandOver, encodeHandOver } from './message.ts';

export interface Predecessor {
  readonly version: string;
  readonly bound: string;
  /** This process's to close. */
  readonly descriptors: DescriptorSet;
  /** Resolves when it is no more. */
  readonly gone: Promise<void>;
  /** Ends the connection: it carries on. */
  close(): void;
  /** Asks it to let go; resolves when it has, or is no more, or when `limitMs` have passed since. */
  takeOver(limitMs: number): Promise<'let_go' | 'gone' | 'silent'>;
}

export interface PredecessorOptions {
  /** Of the socket at which keepers listen. */
  readonly path: string;
  readonly version: string;
  readonly readiness: Readiness;
  /** For its first answer. */
  readonly limitMs: number;
}

/** Undefined when no agent runs on the node, `busy` when it has no turn to give now. Throws OperationError: PREDECESSOR_SILENT, PREDECESSOR_REFUSED (what it passed is no set of descriptors), errno names. */
export async function meetPredecessor(
  options: PredecessorOptions,
): Promise<Predecessor | 'busy' | undefined> {
  const { path, version, limitMs } = options;
  const fd = connectTo({ path, type: SOCK_SEQPACKET });
  if (fd === undefined) return undefined;
  const connection = createConnection(fd, options.readiness);
  sendPacket(fd, encodeHandOver({ kind: 'hello', protocol: PROTOCOL, version }));
  const answer = await connection.next(limitMs);
  if (answer.kind === 'gone') return undefined;
  if (answer.kind !== 'descriptors') connection.close();
  if (answer.kind === 'silent') {
    throw new OperationError(
      `Cannot take over from the agent that runs on this node: it does not answer at ${path}; end its pod (kubectl -n weft delete pod, on this node)`,
      { code: 'PREDECESSOR_SILENT', context: { path } },
    );
  }
  if (answer.kind !== 'descriptors') return 'busy';
  const descriptors = fromDescriptorList(answer.descriptors, answer.workers);
  if (descriptors === undefined) {
    for (const each of answer.descriptors) libc.close(each);
    connection.close();
    throw new OperationError(
      `Cannot take over from agent ${answer.version} that runs on this node: it passed ${answer.descriptors.length} descriptors for ${answer.workers} data plane workers; end its pod (kubectl -n weft delete pod, on this node)`,
      { code: 'PREDECESSOR_REFUSED', context: { path, version: answer.version } },
    );
  }
  return {
    version: answer.version,
    bound: answer.bound,
    descriptors,
    gone: connection.gone,
    close: () => connection.close(),
    async takeOver(limit) {
      sendPacket(fd, encodeHandOver({ kind: 'go' }));
      const { kind } = await connection.next(limit);
      return kind === 'gone' || kind === 'silent' ? kind : 'let_go';
    },
  };
}

type Answer =
  | (HandOverMessage & { readonly descriptors: readonly number[] })
  | { readonly kind: 'gone' | 'silent' };

interface Connection {
  readonly gone: Promise<void>;
  /** The next message; one call at a time. */
  next(limitMs: number): Promise<Answer>;
  close(): void;
}

function createConnection(fd: number, readiness: Readiness): Connection {
  const end = Promise.withResolvers<void>();
  let isOpen = true;
  let waiting: ((answer: Answer) => void) | undefined;
  const close = (): void => {
    if (!isOpen) return;
    isOpen = false;
    unwatch();
    libc.close(fd);
    end.resolve();
    waiting?.({ kind: 'gone' });
  };
  const receive = (): void => {
    const packet = receivePacket(fd);
    if (packet === 'nothing') return;
    const message = packet === 'ended' ? undefined : decodeHandOver(packet.text);
    if (packet === 'ended' || message === undefined || !message.ok) {
      close(); // what no message of ours says would be told again and again
      return;
    }
    if (waiting === undefined) for (const each of packet.descriptors) libc.close(each);
    else waiting({ ...message.value, descriptors: packet.descriptors });
  };
  const unwatch = readiness.watch(fd, READABLE, receive);
  return {
    gone: end.promise,
    close,
    next(limitMs) {
      if (!isOpen) return Promise.resolve({ kind: 'gone' });
      const { promise, resolve } = Promise.withResolvers<Answer>();
      const limit = setTimeout(() => waiting?.({ kind: 'silent' }), limitMs);
      waiting = (answer) => {
        waiting = undefined;
        clearTimeout(limit);
        resolve(answer);
      };
      return promise;
    },
  };
}
