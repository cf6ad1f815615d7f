// The place of the socket levers: two ends of a veth, the near one here, the far one in a namespace.
//
//   near 10.7.0.1/24 ═ veth ═ far 10.7.0.2/24 (namespace "far")
import type { Region } from '../../agent/linux/arena.ts';
import { libc } from '../../agent/linux/libc.ts';
import { ENCLOSURE, runScript } from '../../test/lab/command.ts';
import {
  MMSGHDR_BYTES,
  MSGHDR,
  PAGE_BYTES,
  SOL_UDP,
  UDP_SEGMENT,
  arena,
  setIovec,
  setMessage,
} from './kernel.ts';

export const NEAR = '10.7.0.1';
export const FAR = '10.7.0.2';
const FAR_MAC = '02:00:00:00:07:02';
/** What one inner segment of a full train is on the wire: 22 bytes of overlay, 52 of TCP/IP, 1398 of payload. */
export const FRAME_BYTES = 1472;
export const FRAME_HEADERS_BYTES = 74;
/** 44 frames are 64,768 bytes; a 45th is more than a datagram holds. */
export const TRAIN_FRAMES = 44;
export const TRAIN_BYTES: number = TRAIN_FRAMES * FRAME_BYTES;

let wireIsThere = false;

/** Makes both ends; once. */
export async function makeWire(): Promise<void> {
  if (wireIsThere) return;
  wireIsThere = true;
  await runScript(ENCLOSURE, [
    'ip netns add far',
    `ip link add near type veth peer name far address ${FAR_MAC} netns far`,
    `ip address add ${NEAR}/24 dev near`,
    'ip link set near up',
    `ip -n far address add ${FAR}/24 dev far`,
    'ip -n far link set far up',
    'sysctl -qw net.ipv6.conf.near.disable_ipv6=1',
    'ip netns exec far sysctl -qw net.ipv6.conf.all.disable_ipv6=1',
    `ip neighbour replace ${FAR} lladdr ${FAR_MAC} dev near nud permanent`,
  ]);
}

/** Whether the near end cuts trains itself, as a network card does that can (off = frames of MTU size are on the wire). */
export const cutOnWire = (isOn: boolean): Promise<string> =>
  runScript(ENCLOSURE, [`ethtool -K near tx-udp-segmentation ${isOn ? 'off' : 'on'} >/dev/null`]);

/** `count` messages for sendmmsg, each a train of 44 frames gathered from headers and payload, as the product sends them. */
export function trains(count: number): Region {
  const messages = arena.allocate(count * MMSGHDR_BYTES);
  const iovecs = arena.allocate(TRAIN_FRAMES * 32);
  const headers = arena.allocate(TRAIN_FRAMES * 128);
  const payload = arena.allocate(TRAIN_BYTES);
  for (let frame = 0; frame < TRAIN_FRAMES; frame++) {
    const payloadBytes = FRAME_BYTES - FRAME_HEADERS_BYTES;
    setIovec(iovecs, frame * 32, headers.address + frame * 128, FRAME_HEADERS_BYTES);
    setIovec(iovecs, frame * 32 + 16, payload.address + frame * payloadBytes, payloadBytes);
  }
  const control = arena.allocate(24); // struct cmsghdr: UDP_SEGMENT
  control.view.setBigUint64(0, 18n, true);
  control.view.setInt32(8, SOL_UDP, true);
  control.view.setInt32(12, UDP_SEGMENT, true);
  control.view.setUint16(16, FRAME_BYTES, true);
  for (let index = 0; index < count; index++) {
    setMessage(messages, index, iovecs.address, TRAIN_FRAMES * 2);
    messages.view.setBigUint64(index * MMSGHDR_BYTES + MSGHDR.control, BigInt(control.address), true);
    messages.view.setBigUint64(index * MMSGHDR_BYTES + MSGHDR.controlLength, 24n, true);
  }
  return messages;
}

/** One message of the same train, its bytes in one piece that begins a page. */
export function trainInOnePiece(): number {
  const messages = trains(1);
  const piece = arena.allocate(TRAIN_BYTES, PAGE_BYTES);
  const iovec = arena.allocate(16);
  setIovec(iovec, 0, piece.address, TRAIN_BYTES);
  setMessage(messages, 0, iovec.address, 1);
  return messages.address;
}

const BUFFER_STRIDE = 65_600;
export const BUFFER_BYTES = 65_536;

export interface Inbox {
  readonly messages: Region;
  readonly offsetOf: (index: number) => number;
  /** One recvmmsg of at most `count`; returns how many came. */
  readonly receive: (count: number) => number;
  readonly lengthOf: (index: number) => number;
  /** Takes all that is there; returns the bytes. */
  readonly drain: () => number;
}

/** Messages for recvmmsg, each with a buffer of 64 KiB, as the product receives. */
export function createInbox(fd: number, count: number): Inbox {
  const messages = arena.allocate(count * MMSGHDR_BYTES);
  const iovecs = arena.allocate(count * 16);
  const controls = arena.allocate(count * 64);
  const buffers = arena.allocate(count * BUFFER_STRIDE);
  for (let index = 0; index < count; index++) {
    setIovec(iovecs, index * 16, buffers.address + index * BUFFER_STRIDE, BUFFER_BYTES);
    setMessage(messages, index, iovecs.address + index * 16, 1);
    messages.view.setBigUint64(
      index * MMSGHDR_BYTES + MSGHDR.control,
      BigInt(controls.address + index * 64),
      true,
    );
  }
  const lengthOf = (index: number): number =>
    messages.view.getUint32(index * MMSGHDR_BYTES + MSGHDR.received, true);
  const receive = (most: number): number => {
    for (let index = 0; index < most; index++) {
      messages.view.setUint32(index * MMSGHDR_BYTES + MSGHDR.controlLength, 64, true); // the kernel overwrites it
    }
    return libc.recvmmsg(fd, messages.address, most, 0x40, 0);
  };
  return {
    messages,
    lengthOf,
    receive,
    offsetOf: (index) => buffers.offset + index * BUFFER_STRIDE,
    drain() {
      let bytes = 0;
      for (let got = receive(count); got > 0; got = receive(count)) {
        for (let index = 0; index < got; index++) bytes += lengthOf(index);
      }
      return bytes;
    },
  };
}
