// Notifications of the kernel over an AF_NETLINK socket that joined groups. Read without waiting; what did not fit into the socket's queue is
// lost, which is told.
import { decodeMessages, type NetlinkMessage } from '../../proto/netlink.ts';
import { Arena, type Region } from './arena.ts';
import { check, errno, libc, systemError } from './libc.ts';
import { bindAnywhere } from './netlink-socket.ts';
import { READABLE, type Readiness } from './readiness.ts';

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC_NONBLOCK = 3 | 0x80000 | 0x800;
const SOL_SOCKET = 1;
const SO_RCVBUFFORCE = 33;
const SOL_NETLINK = 270;
const NETLINK_ADD_MEMBERSHIP = 1;
const MSG_TRUNC = 0x20;
const EINTR = 4;
const EAGAIN = 11;
const ENOBUFS = 105;

/** Larger than any notification. */
const RECEIVE_BYTES = 65_536;
/** Holds some hundred notifications; what a storm sends beyond it costs a look at everything. */
const QUEUE_BYTES = 1 << 20;
/** So that a flood does not keep the event loop. */
const MOST_DATAGRAMS = 2000;

let buffers: { readonly receive: Region; readonly option: Region } | undefined;

function allocated(): NonNullable<typeof buffers> {
  if (buffers === undefined) {
    const arena = new Arena(RECEIVE_BYTES + 4096);
    buffers = { receive: arena.allocate(RECEIVE_BYTES), option: arena.allocate(16) };
  }
  return buffers;
}

export interface NetlinkEvents {
  /**
   * Hands over what has arrived, one by one; a message is valid during the call only. True when some were lost. What is left after a
   * bound waits for the next call. Throws OperationError: an errno name.
   */
  read(handle: (message: NetlinkMessage) => void): boolean;
  /** Calls back when there is something to read, again and again until it was read; the answer ends it. */
  watch(readable: () => void): () => void;
  close(): void;
}

export interface NetlinkEventsOptions {
  readonly protocol: number;
  readonly groups: readonly number[];
  readonly readiness: Readiness;
  /** Tests overflow a small one. */
  readonly queueBytes?: number;
}

/** In the agent's own namespace. Throws OperationError: an errno name. */
export function openNetlinkEvents(options: NetlinkEventsOptions): NetlinkEvents {
  const { protocol, groups, readiness, queueBytes = QUEUE_BYTES } = options;
  const { receive, option } = allocated();
  const action = `listen to the kernel's notifications of netlink protocol ${protocol}`;
  const fd = check(libc.socket(AF_NETLINK, SOCK_RAW_CLOEXEC_NONBLOCK, protocol), () => action);
  const set = (level: number, name: number, value: number): number => {
    option.view.setInt32(0, value, true);
    return libc.setsockopt(fd, level, name, option.address, 4);
  };
  try {
    set(SOL_SOCKET, SO_RCVBUFFORCE, queueBytes); // without it the system's default queue will do
    bindAnywhere(fd);
    for (const group of groups) check(set(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group), () => action);
  } catch (error) {
    libc.close(fd);
    throw error;
  }

  return {
    read(handle) {
      let lost = false;
      for (let count = 0; count < MOST_DATAGRAMS; count += 1) {
        const length = libc.recv(fd, receive.address, RECEIVE_BYTES, MSG_TRUNC);
        if (length > RECEIVE_BYTES) {
          lost = true;
          continue;
        }
        if (length < 0) {
          if (errno() === EAGAIN) return lost;
          if (errno() === ENOBUFS) lost = true;
          else if (errno() !== EINTR) throw systemError(action);
          continue;
        }
        const messages = decodeMessages(receive.bytes.subarray(0, length));
        if (messages.ok) messages.value.forEach(handle);
        else lost = true;
      }
      return lost;
    },
    watch: (readable) => readiness.watch(fd, READABLE, readable),
    close: () => {
      libc.close(fd);
    },
  };
}
