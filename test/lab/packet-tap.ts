// A packet socket (packet(7)) on a device of this process's network namespace: sends frames with a virtio_net_hdr, as a virtual machine or a
// TUN would hand them over, and takes whatever the device receives. Blocks for as long as it waits; for tests of the kernel only.
import { Arena, type Region } from '../../agent/linux/arena.ts';
import { check, libc } from '../../agent/linux/libc.ts';

const AF_PACKET = 17;
const SOCK_RAW = 3;
const SOL_SOCKET = 1;
const SO_RCVBUFFORCE = 33;
const SOL_PACKET = 263;
const PACKET_VNET_HDR = 15;
const ETH_P_IP = 0x0800;
const SOCKADDR_LL_BYTES = 20;
const BUFFER_BYTES = 70_000;
const RECEIVE_BYTES = 64 << 20;
const MSG_DONTWAIT = 0x40;
const POLLIN = 1;

const swapped = (word: number): number => ((word & 0xff) << 8) | (word >>> 8);

export interface PacketTap {
  /** virtio_net_hdr and Ethernet frame. Throws OperationError (errno's name) when the kernel refuses it. */
  readonly send: (bytes: Uint8Array) => void;
  /** The next frame that the device received, or undefined after `boundMs` without one. */
  readonly receive: (boundMs: number) => Uint8Array | undefined;
  readonly close: () => void;
}

/** `send`: frames are sent with a virtio_net_hdr; `receive`: IPv4 frames are taken, without one. */
export function openPacketTap(interfaceIndex: number, direction: 'send' | 'receive'): PacketTap {
  const arena = new Arena(3 * BUFFER_BYTES);
  const buffer = arena.allocate(BUFFER_BYTES);
  const small = arena.allocate(64);
  const fd = check(libc.socket(AF_PACKET, SOCK_RAW, 0), () => 'open a packet socket');
  const setOption = (level: number, name: number, value: number): void => {
    small.view.setInt32(0, value, true);
    check(libc.setsockopt(fd, level, name, small.address, 4), () => `set option ${name} of a packet socket`);
  };
  if (direction === 'send') setOption(SOL_PACKET, PACKET_VNET_HDR, 1);
  else setOption(SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BYTES);
  bind(fd, small, { interfaceIndex, protocol: direction === 'send' ? 0 : ETH_P_IP });
  return {
    send: (bytes) => {
      buffer.bytes.set(bytes);
      check(libc.send(fd, buffer.address, bytes.length, 0), () => `send a frame of ${bytes.length} bytes`);
    },
    receive: (boundMs) => {
      small.view.setInt32(0, fd, true);
      small.view.setInt32(4, POLLIN, true);
      if (libc.poll(small.address, 1, boundMs) <= 0) return undefined;
      const length = libc.recv(fd, buffer.address, BUFFER_BYTES, MSG_DONTWAIT);
      return length < 0 ? undefined : buffer.bytes.slice(0, length);
    },
    close: () => void libc.close(fd),
  };
}

function bind(fd: number, address: Region, to: { interfaceIndex: number; protocol: number }): void {
  address.bytes.fill(0);
  address.view.setUint16(0, AF_PACKET, true);
  address.view.setUint16(2, swapped(to.protocol), true);
  address.view.setInt32(4, to.interfaceIndex, true);
  check(libc.bind(fd, address.address, SOCKADDR_LL_BYTES), () => 'bind a packet socket');
}
