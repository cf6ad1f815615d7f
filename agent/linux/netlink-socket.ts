// Requests over an AF_NETLINK socket, synchronous: the kernel works within send() and its answer is queued when send() returns, so
// a request costs two or three syscalls and an attach is never half done when another event runs. A receive timeout bounds what should
// not happen. Refusals are OperationErrors with the errno's name and the kernel's extended acknowledgement.
import {
  decodeAcknowledgement,
  decodeMessages,
  MESSAGE_HEADER_BYTES,
  type NetlinkMessage,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLMSG_DONE,
  NLMSG_ERROR,
} from '../../proto/netlink.ts';
import { OperationError } from '../operation-error.ts';
import { Arena, type Region } from './arena.ts';
import { check, errno, errnoName, libc, systemError } from './libc.ts';

export const NETLINK_ROUTE = 0;
export const NETLINK_NETFILTER = 12;

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 3 | 0x80000;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
const SO_PROTOCOL = 38;
const SO_DOMAIN = 39;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const MSG_TRUNC = 0x20;
const SOCKADDR_BYTES = 12;
const EINTR = 4;

const TIMEOUT_SECONDS = 5;
const SEND_BYTES = 131_072;
/** The kernel's largest datagram of a dump is 32 KiB. */
const RECEIVE_BYTES = 65_536;
const DUMP_ATTEMPTS = 5;
const SEQUENCE_LIMIT = 0x7fff_0000;

// Shared by all sockets of the process: an exchange is synchronous, so no two overlap.
let buffers: { readonly send: Region; readonly receive: Region; readonly option: Region } | undefined;

/** Port ids of the sockets that this process opened, by protocol: notifications name who made a change by them. */
const ownPorts = new Map<number, Set<number>>();

// One count for all sockets: a descriptor that is adopted twice never sees an old answer as a new one.
let sequence = 0;

function openBuffers(): NonNullable<typeof buffers> {
  if (buffers === undefined) {
    const arena = new Arena(SEND_BYTES + RECEIVE_BYTES + 4096);
    buffers = {
      send: arena.allocate(SEND_BYTES),
      receive: arena.allocate(RECEIVE_BYTES),
      option: arena.allocate(16),
    };
  }
  return buffers;
}

interface Exchange {
  readonly action: string;
  /** Sequence numbers of the messages sent. */
  readonly first: number;
  readonly last: number;
  /** How many acknowledgements, or ends of a dump, are due. */
  readonly due: number;
}

export interface NetlinkSocket {
  /**
   * Sends one or more messages in one datagram and waits until each that asks for it is acknowledged; the messages that the kernel sent
   * before are the result, as copies. `action` completes "Cannot …" in an error. Throws OperationError: an errno name; EAGAIN when nothing came in time;
   * BAD_ANSWER when the answer is not netlink.
   */
  request(message: Uint8Array, action: string): readonly NetlinkMessage[];
  /** The whole dump; asked again when the kernel says that it changed meanwhile. */
  dump(message: Uint8Array, action: string): readonly NetlinkMessage[];
  close(): void;
}

/** Whether a change that a notification of the protocol tells of was made by this process. */
export const isOwnPort = (protocol: number, portId: number): boolean =>
  ownPorts.get(protocol)?.has(portId) === true;

/** Over a descriptor: ours, or one that was passed to us, whose namespace it then works in. It is closed only by close(). */
function createSocket(fd: number): NetlinkSocket {
  const { send, receive, option } = openBuffers();
  option.view.setBigInt64(0, BigInt(TIMEOUT_SECONDS), true);
  option.view.setBigInt64(8, 0n, true);
  check(
    libc.setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, option.address, 16),
    () => 'set the receive timeout of a netlink socket',
  );
  option.view.setInt32(0, 1, true);
  // Both are conveniences for error texts: a kernel without them still works.
  libc.setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, option.address, 4);
  libc.setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, option.address, 4);

  /** Copies the messages into the arena, numbers them and sends them as one datagram. */
  function transmit(messages: Uint8Array, action: string): Exchange {
    if (messages.length > SEND_BYTES) {
      throw new OperationError(
        `Cannot ${action}: the netlink request has ${messages.length} B, at most ${SEND_BYTES} B go at once`,
        { code: 'E2BIG' },
      );
    }
    send.bytes.set(messages);
    if (sequence > SEQUENCE_LIMIT) sequence = 0;
    const first = sequence + 1;
    let due = 0;
    for (let offset = 0; offset + MESSAGE_HEADER_BYTES <= messages.length;) {
      sequence += 1;
      send.view.setUint32(offset + 8, sequence, true);
      const flags = send.view.getUint16(offset + 6, true);
      if (flags & NLM_F_ACK || (flags & NLM_F_DUMP) === NLM_F_DUMP) due += 1;
      offset += (send.view.getUint32(offset, true) + 3) & ~3;
    }
    check(libc.send(fd, send.address, messages.length, 0), () => action);
    return { action, first, last: sequence, due };
  }

  function receiveDatagram(action: string): Uint8Array {
    for (;;) {
      const length = libc.recv(fd, receive.address, RECEIVE_BYTES, MSG_TRUNC);
      if (length > RECEIVE_BYTES) {
        throw new OperationError(
          `Cannot ${action}: the kernel's answer has ${length} B, the buffer ${RECEIVE_BYTES} B`,
          { code: 'EMSGSIZE' },
        );
      }
      if (length >= 0) return receive.bytes.slice(0, length);
      if (errno() !== EINTR) throw systemError(action);
    }
  }

  function collect(exchange: Exchange): { messages: readonly NetlinkMessage[]; interrupted: boolean } {
    const { action, first, last } = exchange;
    const messages: NetlinkMessage[] = [];
    let interrupted = false;
    for (let due = exchange.due; due > 0;) {
      const datagram = decodeMessages(receiveDatagram(action));
      if (!datagram.ok) throw badAnswer(action, datagram.reason);
      for (const message of datagram.value) {
        // Left over from an exchange that failed in its middle.
        if (message.sequence < first || message.sequence > last) continue;
        interrupted ||= (message.flags & NLM_F_DUMP_INTR) !== 0;
        if (message.type !== NLMSG_ERROR && message.type !== NLMSG_DONE) {
          messages.push(message);
          continue;
        }
        const answer = decodeAcknowledgement(message);
        if (!answer.ok) throw badAnswer(action, answer.reason);
        if (answer.value.errno !== 0) throw refusal(action, answer.value);
        due -= 1;
      }
    }
    return { messages, interrupted };
  }

  return {
    request: (message, action) => collect(transmit(message, action)).messages,
    dump(message, action) {
      for (let attempt = 1; ; attempt += 1) {
        const { messages, interrupted } = collect(transmit(message, action));
        if (!interrupted || attempt === DUMP_ATTEMPTS) return messages;
      }
    },
    close: () => {
      libc.close(fd);
    },
  };
}

const badAnswer = (action: string, reason: string): OperationError =>
  new OperationError(`Cannot ${action}: the answer on the netlink socket is not netlink (${reason})`, {
    code: 'BAD_ANSWER',
  });

function refusal(action: string, answer: { readonly errno: number; readonly text: string }): OperationError {
  const code = errnoName(answer.errno);
  const words = answer.text === '' ? '' : `: ${answer.text.replace(/[.\n]+$/, '')}`;
  return new OperationError(`Cannot ${action}${words} (${code})`, { code });
}

/** A socket in the agent's own namespace. */
export function openNetlink(protocol: number): NetlinkSocket {
  const fd = check(
    libc.socket(AF_NETLINK, SOCK_RAW_CLOEXEC, protocol),
    () => `open a netlink socket of protocol ${protocol}`,
  );
  try {
    const socket = createSocket(fd);
    const portId = bindAnywhere(fd);
    const ports = ownPorts.get(protocol) ?? new Set();
    ownPorts.set(protocol, ports.add(portId));
    return {
      ...socket,
      close() {
        ports.delete(portId);
        socket.close();
      },
    };
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

/** Binds a netlink socket; answers the port id that the kernel chose. Without one a socket hears no notifications. */
export function bindAnywhere(fd: number): number {
  const { option: name } = openBuffers();
  name.view.setUint16(0, AF_NETLINK, true);
  name.view.setUint16(2, 0, true);
  name.view.setUint32(4, 0, true); // port id: the kernel chooses one
  name.view.setUint32(8, 0, true); // no groups
  check(libc.bind(fd, name.address, SOCKADDR_BYTES), () => 'bind a netlink socket');
  name.view.setInt32(12, SOCKADDR_BYTES, true);
  check(libc.getsockname(fd, name.address, name.address + 12), () => 'read the port of a netlink socket');
  return name.view.getUint32(4, true);
}

/**
 * A NETLINK_ROUTE socket that was opened elsewhere and passed to us. The caller keeps the descriptor and closes it; it must not be used by
 * two at once. Throws OperationError: BAD_DESCRIPTOR when it is something else.
 */
export function adoptRouteNetlink(fd: number): NetlinkSocket {
  const { option } = openBuffers();
  const read = (name: number): number => {
    option.view.setInt32(4, 4, true);
    const result = libc.getsockopt(fd, SOL_SOCKET, name, option.address, option.address + 4);
    return result < 0 ? -1 : option.view.getInt32(0, true);
  };
  if (read(SO_DOMAIN) !== AF_NETLINK || read(SO_PROTOCOL) !== NETLINK_ROUTE) {
    throw new OperationError(
      `Cannot use descriptor ${fd}: it is not a NETLINK_ROUTE socket; is the CNI shim of the same version as the agent?`,
      { code: 'BAD_DESCRIPTOR', context: { fd } },
    );
  }
  return createSocket(fd);
}
