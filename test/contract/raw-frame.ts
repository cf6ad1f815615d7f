// Ethernet frames that a pod with CAP_NET_RAW could send, every field free. For anti-spoof tests.
import { Arena } from '../../agent/linux/arena.ts';
import { check, libc } from '../../agent/linux/libc.ts';
import type { Ipv4, Mac } from '../../proto/address.ts';
import type { PodNamespace } from './network-namespaces.ts';

const AF_PACKET = 17;
const SOCK_RAW = 3;
export const ETHERTYPE_IPV4 = 0x0800;
export const ETHERTYPE_ARP = 0x0806;
const SOCKADDR_LL_BYTES = 20;

const arena = new Arena(65_536);
const address = arena.allocate(SOCKADDR_LL_BYTES);
const frame = arena.allocate(2048);

const setMac = (view: DataView, offset: number, value: Mac): void => {
  view.setUint16(offset, Math.floor(value / 2 ** 32));
  view.setUint32(offset + 2, value % 2 ** 32);
};

export interface EthernetFields {
  readonly to: Mac;
  readonly from: Mac;
  readonly type: number;
  readonly payload: Uint8Array;
}

export function ethernetFrame({ to, from, type, payload }: EthernetFields): Uint8Array {
  const bytes = new Uint8Array(14 + payload.length);
  const view = new DataView(bytes.buffer);
  setMac(view, 0, to);
  setMac(view, 6, from);
  view.setUint16(12, type);
  bytes.set(payload, 14);
  return bytes;
}

/** A UDP datagram without payload to port 9. */
export function ipv4Packet(source: Ipv4, destination: Ipv4): Uint8Array {
  const bytes = new Uint8Array(28);
  const view = new DataView(bytes.buffer);
  bytes[0] = 0x45;
  view.setUint16(2, bytes.length);
  view.setUint8(8, 64);
  view.setUint8(9, 17);
  view.setUint32(12, source);
  view.setUint32(16, destination);
  let sum = 0;
  for (let offset = 0; offset < 20; offset += 2) sum += view.getUint16(offset);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(10, ~sum & 0xffff);
  view.setUint16(20, 9);
  view.setUint16(22, 9);
  view.setUint16(24, 8);
  return bytes;
}

export interface ArpFields {
  readonly operation: 1 | 2;
  readonly senderMac: Mac;
  readonly sender: Ipv4;
  readonly target: Ipv4;
}

export function arpPacket({ operation, senderMac, sender, target }: ArpFields): Uint8Array {
  const bytes = new Uint8Array(28);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 1);
  view.setUint16(2, ETHERTYPE_IPV4);
  bytes.set([6, 4], 4);
  view.setUint16(6, operation);
  setMac(view, 8, senderMac);
  view.setUint32(14, sender);
  view.setUint32(24, target);
  return bytes;
}

/** Sends a frame out of the pod's eth0, as it is. */
export function sendFrame(pod: PodNamespace, bytes: Uint8Array): void {
  const fd = pod.socket(AF_PACKET, SOCK_RAW, 0);
  const index = Number(/^(\d+):/.exec(pod.run('ip -o link show eth0'))?.[1]);
  address.bytes.fill(0);
  address.view.setUint16(0, AF_PACKET, true);
  address.view.setInt32(4, index, true);
  try {
    check(libc.bind(fd, address.address, SOCKADDR_LL_BYTES), () => 'bind a packet socket');
    frame.bytes.set(bytes);
    check(libc.send(fd, frame.address, bytes.length, 0), () => 'send a frame');
  } finally {
    libc.close(fd);
  }
}
