// ICMP errors to local pods about packets that the data plane cannot carry (RFC 792, 1191, 1122 section 3.2.2, 1812 section 4.3.2):
// never about an ICMP error, a later fragment, or to a source that is not one host; at most a burst and then a few a second per source.
// They are written back to the TUN, with the bridge's address as their source.
import { complement, storeWord } from '../../proto/checksum.ts';
import {
  ICMP_CHECKSUM_OFFSET,
  ICMP_CODE_FRAGMENTATION_NEEDED,
  ICMP_CODE_HOST_UNREACHABLE,
  ICMP_CODE_OFFSET,
  ICMP_DESTINATION_UNREACHABLE,
  ICMP_ERROR_MAX_PACKET_BYTES,
  ICMP_HEADER_BYTES,
  ICMP_REST_OFFSET,
  ICMP_TYPE_OFFSET,
  isIcmpErrorType,
} from '../../proto/icmp.ts';
import {
  IPV4_CHECKSUM_OFFSET,
  IPV4_DESTINATION_OFFSET,
  IPV4_FRAGMENT_MASK,
  IPV4_FRAGMENT_OFFSET,
  IPV4_HEADER_BYTES,
  IPV4_IDENTIFICATION_OFFSET,
  IPV4_PROTOCOL_OFFSET,
  IPV4_SOURCE_OFFSET,
  IPV4_TIME_TO_LIVE_OFFSET,
  IPV4_TOTAL_LENGTH_OFFSET,
  IPV4_TYPE_OF_SERVICE_OFFSET,
  IPV4_VERSION_IHL_OFFSET,
  IPV4_VERSION_IHL_PLAIN,
  IP_PROTOCOL_ICMP,
} from '../../proto/ipv4-packet.ts';
import { VIRTIO_NET_HDR_BYTES } from '../../proto/virtio-net.ts';
import type { Clock } from './clock.ts';
import type { PacketMemory } from './packet-memory.ts';

/** Per source: this many at once, then this many a second. */
export const ERRORS_BURST = 10;
export const ERRORS_PER_SECOND = 10;

const SOURCES = 256; // sources share a bucket when their hashes meet
const SOURCE_SHIFT = 24;
const TYPE_OF_SERVICE = 0xc0; // internetwork control, as the kernel marks its own
const TIME_TO_LIVE = 64;
const FIRST_MULTICAST = 0xe000_0000;

export class IcmpErrors {
  /** Source of the errors, host order; 0 = none is sent. */
  gateway = 0;
  readonly #memory: PacketMemory;
  readonly #clock: Clock;
  readonly #write: (offset: number, length: number) => void;
  readonly #packet: number;
  readonly #allowance: Float64Array = new Float64Array(SOURCES).fill(ERRORS_BURST);
  readonly #countedAt: Float64Array = new Float64Array(SOURCES);

  /** `write` gets virtio_net_hdr and packet, and is done with them when it returns. */
  constructor(memory: PacketMemory, clock: Clock, write: (offset: number, length: number) => void) {
    this.#memory = memory;
    this.#clock = clock;
    this.#write = write;
    this.#packet = memory.allocate(VIRTIO_NET_HDR_BYTES + ICMP_ERROR_MAX_PACKET_BYTES);
  }

  /** No node has the block of the destination. The packet's header was checked. */
  hostUnreachable(ip: number, length: number): void {
    this.#unreachable(ip, length, ICMP_CODE_HOST_UNREACHABLE, 0);
  }

  /** The packet has DF, and the path to its destination takes `mtu` (RFC 1191 section 4). Its header was checked. */
  fragmentationNeeded(ip: number, length: number, mtu: number): void {
    this.#unreachable(ip, length, ICMP_CODE_FRAGMENTATION_NEEDED, mtu);
  }

  /** `rest` is what follows the checksum. */
  #unreachable(ip: number, length: number, code: number, rest: number): void {
    if (this.gateway === 0 || !this.#mayAnswer(ip, length)) return;
    const { bytes, view, sum } = this.#memory;
    const quoted = Math.min(length, ICMP_ERROR_MAX_PACKET_BYTES - IPV4_HEADER_BYTES - ICMP_HEADER_BYTES);
    const totalLength = IPV4_HEADER_BYTES + ICMP_HEADER_BYTES + quoted;
    const error = this.#packet + VIRTIO_NET_HDR_BYTES;
    bytes.fill(0, this.#packet, error + IPV4_HEADER_BYTES + ICMP_HEADER_BYTES);
    view.setUint8(error + IPV4_VERSION_IHL_OFFSET, IPV4_VERSION_IHL_PLAIN);
    view.setUint8(error + IPV4_TYPE_OF_SERVICE_OFFSET, TYPE_OF_SERVICE);
    view.setUint16(error + IPV4_TOTAL_LENGTH_OFFSET, totalLength);
    view.setUint16(error + IPV4_IDENTIFICATION_OFFSET, 0);
    view.setUint8(error + IPV4_TIME_TO_LIVE_OFFSET, TIME_TO_LIVE);
    view.setUint8(error + IPV4_PROTOCOL_OFFSET, IP_PROTOCOL_ICMP);
    view.setUint32(error + IPV4_SOURCE_OFFSET, this.gateway);
    view.setUint32(error + IPV4_DESTINATION_OFFSET, view.getUint32(ip + IPV4_SOURCE_OFFSET));
    storeWord(bytes, error + IPV4_CHECKSUM_OFFSET, complement(sum(error, IPV4_HEADER_BYTES)));

    const icmp = error + IPV4_HEADER_BYTES;
    view.setUint8(icmp + ICMP_TYPE_OFFSET, ICMP_DESTINATION_UNREACHABLE);
    view.setUint8(icmp + ICMP_CODE_OFFSET, code);
    view.setUint32(icmp + ICMP_REST_OFFSET, rest);
    bytes.copyWithin(icmp + ICMP_HEADER_BYTES, ip, ip + quoted);
    storeWord(bytes, icmp + ICMP_CHECKSUM_OFFSET, complement(sum(icmp, ICMP_HEADER_BYTES + quoted)));
    this.#write(this.#packet, VIRTIO_NET_HDR_BYTES + totalLength);
  }

  #mayAnswer(ip: number, length: number): boolean {
    const { view } = this.#memory;
    if ((view.getUint16(ip + IPV4_FRAGMENT_OFFSET) & IPV4_FRAGMENT_MASK) !== 0) return false;
    const source = view.getUint32(ip + IPV4_SOURCE_OFFSET);
    const destination = view.getUint32(ip + IPV4_DESTINATION_OFFSET);
    if (source === 0 || source >= FIRST_MULTICAST || destination >= FIRST_MULTICAST) return false;
    if (view.getUint8(ip + IPV4_PROTOCOL_OFFSET) === IP_PROTOCOL_ICMP) {
      const headerBytes = (view.getUint8(ip) & 0x0f) * 4;
      if (length <= headerBytes || isIcmpErrorType(view.getUint8(ip + headerBytes))) return false;
    }
    return this.#take(Math.imul(source, 0x9e37_79b1) >>> SOURCE_SHIFT);
  }

  #take(bucket: number): boolean {
    const now = this.#clock.nowMs;
    const earned = ((now - this.#countedAt[bucket]!) * ERRORS_PER_SECOND) / 1000; // !: below SOURCES
    const allowance = Math.min(ERRORS_BURST, this.#allowance[bucket]! + earned); // !: below SOURCES
    this.#countedAt[bucket] = now;
    this.#allowance[bucket] = allowance < 1 ? allowance : allowance - 1;
    return allowance >= 1;
  }
}
