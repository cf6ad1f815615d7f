// Packets as a pcapng file (draft-ietf-opsawg-pcapng): one section, several interfaces, packets with direction and comment, counts at the
// end. Little-endian. Every block is `| type | length | body, padded to 4 | length |`, so a file that is cut in its middle can be read.
import type { Ipv4 } from '../../proto/address.ts';

/** The packet starts with its IPv4 header. Not 101, "raw IP": libpcap 1.10 reads a file with several interfaces of that type only to the second. */
export const LINK_TYPE_IPV4 = 228;

const SECTION_HEADER = 0x0a0d0d0a;
const INTERFACE_DESCRIPTION = 1;
const NAME_RESOLUTION = 4;
const INTERFACE_STATISTICS = 5;
const ENHANCED_PACKET = 6;
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
const UNKNOWN_LENGTH = 0xffff_ffff;

const OPTION_END = 0;
const OPTION_COMMENT = 1;
const SECTION_OS = 3;
const SECTION_APPLICATION = 4;
const INTERFACE_NAME = 2;
const INTERFACE_DESCRIPTION_TEXT = 3;
const INTERFACE_TIME_RESOLUTION = 9;
const PACKET_FLAGS = 2;
const STATISTICS_RECEIVED = 4;
const STATISTICS_DROPPED = 5;
const NAME_END = 0;
const NAME_IPV4 = 1;
const MICROSECONDS = 6; // 10^-6

const FLAG_INBOUND = 1;
const FLAG_OUTBOUND = 2;
const TWO_TO_32 = 0x1_0000_0000;
const encoder = new TextEncoder();

interface Option {
  readonly code: number;
  readonly value: Uint8Array;
}

const padded = (bytes: number): number => (bytes + 3) & ~3;
const words = (...values: readonly number[]): Uint8Array => {
  const bytes = new Uint8Array(values.length * 4);
  const view = new DataView(bytes.buffer);
  for (const [index, value] of values.entries()) view.setUint32(index * 4, value >>> 0, true);
  return bytes;
};
const textOption = (code: number, text: string): Option => ({ code, value: encoder.encode(text) });
const countOption = (code: number, value: number): Option => ({
  code,
  value: words(value % TWO_TO_32, Math.floor(value / TWO_TO_32)),
});

/** Code, length and value of each, padded; `end` closes the list where it is not empty. */
function records(list: readonly Option[], end: number): Uint8Array {
  if (list.length === 0) return new Uint8Array(0);
  const bytes = new Uint8Array(list.reduce((sum, { value }) => sum + 4 + padded(value.length), 4));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const { code, value } of list) {
    view.setUint16(at, code, true);
    view.setUint16(at + 2, value.length, true);
    bytes.set(value, at + 4);
    at += 4 + padded(value.length);
  }
  view.setUint16(at, end, true);
  return bytes;
}

function block(type: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + padded(part.length), 12);
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setUint32(4, length, true);
  let at = 8;
  for (const part of parts) {
    bytes.set(part, at);
    at += padded(part.length);
  }
  view.setUint32(at, length, true);
  return bytes;
}

/** The first block of a file. */
export function sectionHeader(about: {
  readonly application: string;
  readonly system: string;
  readonly comment: string;
}): Uint8Array {
  const version = 1; // major 1, minor 0, each 16 bits
  const options = [
    textOption(OPTION_COMMENT, about.comment),
    textOption(SECTION_OS, about.system),
    textOption(SECTION_APPLICATION, about.application),
  ];
  return block(
    SECTION_HEADER,
    words(BYTE_ORDER_MAGIC, version, UNKNOWN_LENGTH, UNKNOWN_LENGTH),
    records(options, OPTION_END),
  );
}

export interface PcapInterface {
  readonly name: string;
  readonly description: string;
  /** 0 = no limit. */
  readonly snapLength: number;
}

/** Interfaces are numbered from 0 in the order in which they are described. */
export function interfaceDescription({ name, description, snapLength }: PcapInterface): Uint8Array {
  const options = [
    textOption(INTERFACE_NAME, name),
    textOption(INTERFACE_DESCRIPTION_TEXT, description),
    { code: INTERFACE_TIME_RESOLUTION, value: Uint8Array.of(MICROSECONDS) },
  ];
  return block(INTERFACE_DESCRIPTION, words(LINK_TYPE_IPV4, snapLength), records(options, OPTION_END));
}

/** Names that a reader may show in place of addresses. */
export function nameResolution(
  names: readonly { readonly address: Ipv4; readonly name: string }[],
): Uint8Array {
  const entries = names.map(({ address, name }) => {
    const value = new Uint8Array(4 + encoder.encode(name).length + 1);
    new DataView(value.buffer).setUint32(0, address);
    value.set(encoder.encode(name), 4);
    return { code: NAME_IPV4, value };
  });
  return block(NAME_RESOLUTION, entries.length === 0 ? words(NAME_END) : records(entries, NAME_END));
}

export interface PcapPacket {
  readonly interface: number;
  /** Microseconds since 1970. */
  readonly timeUs: number;
  readonly bytes: Uint8Array;
  /** Before it was cut. */
  readonly length: number;
  readonly isInbound: boolean;
  readonly comment: string;
}

export function enhancedPacket(packet: PcapPacket): Uint8Array {
  const { timeUs, bytes, length } = packet;
  const options = [
    { code: PACKET_FLAGS, value: words(packet.isInbound ? FLAG_INBOUND : FLAG_OUTBOUND) },
    ...(packet.comment === '' ? [] : [textOption(OPTION_COMMENT, packet.comment)]),
  ];
  return block(
    ENHANCED_PACKET,
    words(packet.interface, Math.floor(timeUs / TWO_TO_32), timeUs % TWO_TO_32, bytes.length, length),
    bytes,
    records(options, OPTION_END),
  );
}

/** How many packets an interface gave, and how many were left out. */
export function interfaceStatistics(counts: {
  readonly interface: number;
  readonly timeUs: number;
  readonly received: number;
  readonly dropped: number;
}): Uint8Array {
  const { timeUs } = counts;
  const options = [
    countOption(STATISTICS_RECEIVED, counts.received),
    countOption(STATISTICS_DROPPED, counts.dropped),
  ];
  return block(
    INTERFACE_STATISTICS,
    words(counts.interface, Math.floor(timeUs / TWO_TO_32), timeUs % TWO_TO_32),
    records(options, OPTION_END),
  );
}
