// Merges packets of one flow that follow each other into one GSO packet for the TUN, which is cut again, exactly so, where it leaves the
// node's offloads. Over the whole batch: other flows' packets may lie between. The kernels (assembly/merging.ts) take what continues a
// write; here writes are begun and, in the end, given their headers. The rules are the kernel's GRO (net/ipv4/{tcp,udp}_offload.c) and
// stricter: no IPv4 options, no fragments, the same headers but for what counts up, flags ACK, ECE and on the last PSH, equal sizes but
// for a shorter last one, checksums verified. Invariant: segmenting what was merged gives the very packets back, in each flow's order
// (but that the identifications of UDP with DF, which RFC 6864 gives no meaning, count up where they were all one).
import { complement, storeWord } from '../../proto/checksum.ts';
import {
  IPV4_CHECKSUM_OFFSET,
  IPV4_FLAG_DONT_FRAGMENT,
  IPV4_FRAGMENT_OFFSET,
  IPV4_HEADER_BYTES,
  IPV4_IDENTIFICATION_OFFSET,
  IPV4_TOTAL_LENGTH_OFFSET,
  IP_PROTOCOL_TCP,
  IP_PROTOCOL_UDP,
} from '../../proto/ipv4-packet.ts';
import {
  TCP_CHECKSUM_OFFSET,
  TCP_DATA_OFFSET_OFFSET,
  TCP_FLAGS_OFFSET,
  TCP_FLAG_ACK,
  TCP_FLAG_ECE,
  TCP_FLAG_PSH,
  TCP_SEQUENCE_OFFSET,
} from '../../proto/tcp.ts';
import { UDP_CHECKSUM_OFFSET, UDP_HEADER_BYTES, UDP_LENGTH_OFFSET } from '../../proto/udp.ts';
import {
  VIRTIO_NET_GSO_SIZE_OFFSET,
  VIRTIO_NET_GSO_TYPE_OFFSET,
  VIRTIO_NET_HEADER_LENGTH_OFFSET,
  VIRTIO_NET_HDR_GSO_TCPV4,
  VIRTIO_NET_HDR_GSO_UDP_L4,
} from '../../proto/virtio-net.ts';
import {
  FLOWS,
  FLOW_BYTES,
  FLOW_FIRST,
  FLOW_FREE,
  FLOW_HEADER_BYTES,
  FLOW_IDENTIFICATION,
  FLOW_IDENTIFICATION_STEP,
  FLOW_LAST_FLAGS,
  FLOW_NEXT_SEQUENCE,
  FLOW_OPEN,
  FLOW_ROW,
  FLOW_SEGMENT_BYTES,
  FLOW_STATE,
  FLOW_TOTAL_LENGTH,
  FLOW_VERIFIED,
  FLOW_WRITE,
  STEP_ONE,
  STEP_UNKNOWN,
} from './kernel-layout.ts';
import type { PacketMemory } from './packet-memory.ts';
import { needsChecksum, pseudoSumAt, storePartial } from './transport-checksum.ts';
import type { WriteBatch } from './write-batch.ts';

const MERGEABLE_FLAGS = TCP_FLAG_ACK | TCP_FLAG_PSH | TCP_FLAG_ECE;
/** TCP and UDP start here in every packet that is looked at: no IPv4 options. */
const TRANSPORT = IPV4_HEADER_BYTES;

export class Coalescing {
  /** Whether the TUN takes UDP super-packets (TUN_F_USO4, Linux 6.2). */
  mergesUdp = true;
  readonly #memory: PacketMemory;
  readonly #batch: WriteBatch;
  readonly #flows: number;
  /** Records in use since finish(): the first so many. */
  #used = 0;

  constructor(memory: PacketMemory, batch: WriteBatch) {
    this.#memory = memory;
    this.#batch = batch;
    this.#flows = memory.allocate(FLOWS * FLOW_BYTES);
    memory.kernels.setWrites(this.#flows, batch.ledger, batch.iovecs);
  }

  /** Takes frames that continue a flow's newest write, from the first on; returns the bytes taken. */
  take(offset: number, length: number, frameBytes: number, row: number): number {
    return this.#used === 0 ? 0 : this.#memory.kernels.take(offset, length, frameBytes, row);
  }

  /** Begins a write of a checked TCP packet that continues nothing. The batch is not full. */
  beginTcp(row: number, ip: number, length: number): void {
    const { view, kernels } = this.#memory;
    if (this.#used > 0) kernels.close(ip);
    const write = this.#batch.begin(row, ip, length);
    const headerBytes = TRANSPORT + (view.getUint8(ip + TRANSPORT + TCP_DATA_OFFSET_OFFSET) >>> 4) * 4;
    const flags = view.getUint8(ip + TRANSPORT + TCP_FLAGS_OFFSET);
    const payloadBytes = length - headerBytes;
    // PSH: the sender wants it delivered now. AE and the reserved bits are the low ones of the data offset's byte.
    if (
      payloadBytes === 0 ||
      (flags & TCP_FLAG_ACK) === 0 ||
      (flags & ~MERGEABLE_FLAGS) !== 0 ||
      (flags & TCP_FLAG_PSH) !== 0 ||
      (view.getUint8(ip + TRANSPORT + TCP_DATA_OFFSET_OFFSET) & 0x0f) !== 0
    ) {
      return;
    }
    const flow = this.#open(row, write, ip, headerBytes, payloadBytes);
    const sequence = view.getUint32(ip + TRANSPORT + TCP_SEQUENCE_OFFSET);
    view.setUint32(flow + FLOW_NEXT_SEQUENCE, sequence + payloadBytes, true);
    view.setUint32(flow + FLOW_IDENTIFICATION_STEP, STEP_ONE, true);
    view.setUint32(flow + FLOW_LAST_FLAGS, flags, true);
  }

  /** The same for a UDP packet whose checksum is not partial. */
  beginUdp(row: number, ip: number, length: number): void {
    const { view, kernels } = this.#memory;
    if (this.#used > 0) kernels.close(ip);
    const write = this.#batch.begin(row, ip, length);
    const headerBytes = TRANSPORT + UDP_HEADER_BYTES;
    if (
      !this.mergesUdp ||
      length === headerBytes ||
      view.getUint16(ip + TRANSPORT + UDP_LENGTH_OFFSET) !== length - TRANSPORT ||
      view.getUint16(ip + TRANSPORT + UDP_CHECKSUM_OFFSET) === 0
    ) {
      return;
    }
    const flow = this.#open(row, write, ip, headerBytes, length - headerBytes);
    const isAtomic = (view.getUint16(ip + IPV4_FRAGMENT_OFFSET) & IPV4_FLAG_DONT_FRAGMENT) !== 0;
    view.setUint32(flow + FLOW_IDENTIFICATION_STEP, isAtomic ? STEP_UNKNOWN : STEP_ONE, true);
  }

  #open(row: number, write: number, ip: number, headerBytes: number, payloadBytes: number): number {
    const { view } = this.#memory;
    const flow = this.#used < FLOWS ? this.#flows + this.#used++ * FLOW_BYTES : this.#reuse();
    view.setUint32(flow + FLOW_STATE, FLOW_OPEN, true);
    view.setUint32(flow + FLOW_ROW, row, true);
    view.setUint32(flow + FLOW_WRITE, write, true);
    view.setUint32(flow + FLOW_FIRST, ip, true);
    view.setUint32(flow + FLOW_HEADER_BYTES, headerBytes, true);
    view.setUint32(flow + FLOW_SEGMENT_BYTES, payloadBytes, true);
    view.setUint32(flow + FLOW_TOTAL_LENGTH, headerBytes + payloadBytes, true);
    view.setUint32(flow + FLOW_IDENTIFICATION, view.getUint16(ip + IPV4_IDENTIFICATION_OFFSET), true);
    view.setUint32(flow + FLOW_VERIFIED, 0, true);
    return flow;
  }

  /** The record of a write that grows no more, or else of the one that was begun first: it keeps its place in the batch, and has its headers now. */
  #reuse(): number {
    const { view } = this.#memory;
    let chosen = this.#flows;
    for (let index = 0; index < FLOWS; index++) {
      const flow = this.#flows + index * FLOW_BYTES;
      if (view.getUint32(flow + FLOW_STATE, true) !== FLOW_OPEN) {
        chosen = flow;
        break;
      }
      if (view.getUint32(flow + FLOW_WRITE, true) < view.getUint32(chosen + FLOW_WRITE, true)) chosen = flow;
    }
    this.#end(chosen);
    return chosen;
  }

  /** No write grows any more, and each gets its headers: before the batch is written. */
  finish(): void {
    for (let index = 0; index < this.#used; index++) this.#end(this.#flows + index * FLOW_BYTES);
    this.#used = 0;
  }

  #end(flow: number): void {
    const write = this.#memory.view.getUint32(flow + FLOW_WRITE, true);
    if (this.#batch.packetsOf(write) > 1) this.#seal(flow, write);
    this.#memory.view.setUint32(flow + FLOW_STATE, FLOW_FREE, true);
  }

  /** Gives the write headers of the whole: a changed copy of the first packet's, and the virtio_net_hdr. */
  #seal(flow: number, write: number): void {
    const { bytes, view, sum } = this.#memory;
    const first = view.getUint32(flow + FLOW_FIRST, true);
    const headerBytes = view.getUint32(flow + FLOW_HEADER_BYTES, true);
    const totalLength = view.getUint32(flow + FLOW_TOTAL_LENGTH, true);
    const ip = this.#batch.ownHeaders(write, first, headerBytes);
    view.setUint16(ip + IPV4_TOTAL_LENGTH_OFFSET, totalLength);
    view.setUint16(ip + IPV4_CHECKSUM_OFFSET, 0);
    storeWord(bytes, ip + IPV4_CHECKSUM_OFFSET, complement(sum(ip, IPV4_HEADER_BYTES)));
    const isTcp = headerBytes !== TRANSPORT + UDP_HEADER_BYTES;
    const transportBytes = totalLength - TRANSPORT;
    const checksum = isTcp ? TCP_CHECKSUM_OFFSET : UDP_CHECKSUM_OFFSET;
    if (isTcp) {
      view.setUint8(ip + TRANSPORT + TCP_FLAGS_OFFSET, view.getUint32(flow + FLOW_LAST_FLAGS, true));
    } else {
      view.setUint16(ip + TRANSPORT + UDP_LENGTH_OFFSET, transportBytes);
    }
    const protocol = isTcp ? IP_PROTOCOL_TCP : IP_PROTOCOL_UDP;
    storePartial(
      this.#memory,
      ip + TRANSPORT + checksum,
      pseudoSumAt(this.#memory, ip, protocol, transportBytes),
    );
    const header = this.#batch.headerOf(write);
    needsChecksum(this.#memory, header, TRANSPORT, checksum);
    view.setUint8(
      header + VIRTIO_NET_GSO_TYPE_OFFSET,
      isTcp ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_UDP_L4,
    );
    view.setUint16(header + VIRTIO_NET_HEADER_LENGTH_OFFSET, headerBytes, true);
    view.setUint16(
      header + VIRTIO_NET_GSO_SIZE_OFFSET,
      view.getUint32(flow + FLOW_SEGMENT_BYTES, true),
      true,
    );
  }
}
