// ForwardingTable as bytes, little-endian (both ends are one machine):
//
//   0      8           12      16             20           24           28       32
//   | WEFTFWD1 | generation | range base | range/block prefix, VNI | VTEP MAC | gateway | peers | owners |
//   then per peer 20 B: slot u16, port u16, address u32, MAC 6 B, flags u16 (1 = probes), 4 B zero; then owners u16 each; then CRC-32 of all before it.
//
// A file that was cut or damaged is refused: a data plane goes on with the table that it has.
import { type Cidr, blockCount, ipv4, mac, vni } from './address.ts';
import { crc32 } from './crc32.ts';
import { PEER_SLOTS } from './dataplane-stats.ts';
import { type Decoded, decoded, refused } from './decoded.ts';
import { type ForwardingPeer, type ForwardingTable, OWNER_FIRST_PEER } from './forwarding-table.ts';

const MAGIC = [0x57, 0x45, 0x46, 0x54, 0x46, 0x57, 0x44, 0x31]; // "WEFTFWD1"
const HEADER_BYTES = 48;
const PEER_BYTES = 20;
const CRC_BYTES = 4;
const FLAG_PROBES = 1;

/** Bytes of the file; `table.owners` must have one entry per block. */
export function encodeForwardingTable(table: ForwardingTable): Uint8Array {
  const ownersAt = HEADER_BYTES + table.peers.length * PEER_BYTES;
  const crcAt = ownersAt + table.owners.length * 2;
  const bytes = new Uint8Array(crcAt + CRC_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(MAGIC);
  view.setUint32(8, table.generation, true);
  view.setUint32(12, table.range.base, true);
  view.setUint8(16, table.range.prefixLength);
  view.setUint8(17, table.blockPrefixLength);
  view.setUint32(20, table.vni, true);
  setMac(view, 24, table.vtepMac);
  view.setUint32(32, table.gateway, true);
  view.setUint32(36, table.peers.length, true);
  view.setUint32(40, table.owners.length, true);
  table.peers.forEach((peer, index) => {
    const at = HEADER_BYTES + index * PEER_BYTES;
    view.setUint16(at, peer.slot, true);
    view.setUint16(at + 2, peer.port, true);
    view.setUint32(at + 4, peer.address, true);
    setMac(view, at + 8, peer.vtepMac);
    view.setUint16(at + 14, peer.probes ? FLAG_PROBES : 0, true);
  });
  table.owners.forEach((owner, index) => view.setUint16(ownersAt + index * 2, owner, true));
  view.setUint32(crcAt, crc32(bytes.subarray(0, crcAt)), true);
  return bytes;
}

export type TableRefusal = 'too_short' | 'magic' | 'length' | 'checksum' | 'prefix' | 'slot' | 'owner';

/** Never throws; the result shares no memory with `bytes`. */
export function decodeForwardingTable(bytes: Uint8Array): Decoded<ForwardingTable, TableRefusal> {
  if (bytes.length < HEADER_BYTES + CRC_BYTES) return refused('too_short');
  if (MAGIC.some((byte, index) => bytes[index] !== byte)) return refused('magic');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const peerCount = view.getUint32(36, true);
  const ownerCount = view.getUint32(40, true);
  const ownersAt = HEADER_BYTES + peerCount * PEER_BYTES;
  const crcAt = ownersAt + ownerCount * 2;
  if (bytes.length !== crcAt + CRC_BYTES) return refused('length');
  if (view.getUint32(crcAt, true) !== crc32(bytes.subarray(0, crcAt))) return refused('checksum');

  const range: Cidr = { base: ipv4(view.getUint32(12, true)), prefixLength: view.getUint8(16) };
  const blockPrefixLength = view.getUint8(17);
  if (range.prefixLength > blockPrefixLength || blockPrefixLength > 32) return refused('prefix');
  if (blockCount(range, blockPrefixLength) !== ownerCount) return refused('prefix');

  const peers: ForwardingPeer[] = [];
  const slots = new Set<number>();
  for (let index = 0; index < peerCount; index++) {
    const at = HEADER_BYTES + index * PEER_BYTES;
    const slot = view.getUint16(at, true);
    if (slot >= PEER_SLOTS || slots.has(slot)) return refused('slot');
    slots.add(slot);
    peers.push({
      slot,
      port: view.getUint16(at + 2, true),
      address: ipv4(view.getUint32(at + 4, true)),
      vtepMac: getMac(view, at + 8),
      probes: (view.getUint16(at + 14, true) & FLAG_PROBES) !== 0,
    });
  }
  const owners = new Uint16Array(ownerCount);
  for (let index = 0; index < ownerCount; index++) {
    const owner = view.getUint16(ownersAt + index * 2, true);
    if (owner >= OWNER_FIRST_PEER && !slots.has(owner - OWNER_FIRST_PEER)) return refused('owner');
    owners[index] = owner;
  }
  return decoded({
    generation: view.getUint32(8, true),
    range,
    blockPrefixLength,
    vni: vni(view.getUint32(20, true)),
    vtepMac: getMac(view, 24),
    gateway: ipv4(view.getUint32(32, true)),
    peers,
    owners,
  });
}

const setMac = (view: DataView, at: number, value: number): void => {
  view.setUint16(at, Math.floor(value / 2 ** 32), false);
  view.setUint32(at + 2, value % 2 ** 32, false);
};
const getMac = (view: DataView, at: number): ReturnType<typeof mac> =>
  mac(view.getUint16(at, false) * 2 ** 32 + view.getUint32(at + 2, false));
