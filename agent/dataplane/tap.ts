// Copies of packets for `weft capture`, at the points of the packet path where their fate is known. Off, it costs each of them one branch on
// `isOn`; on, a filter's evaluation and, for what it wants, a copy into the ring. Invariant: it only reads what the packet path works on,
// and never waits: what the command does not take in time is left out and counted (proto/capture-ring.ts).
import { type CaptureMatch, NO_OUTER, decodeFilter, pointNumber } from '../../proto/capture-filter.ts';
import { type CaptureRingWriter, FORM_FRAME, FORM_PACKET, NO_SOCKET } from '../../proto/capture-ring.ts';
import { NO_PEER_ROW, dropColumn } from '../../proto/dataplane-stats.ts';
import { DROP_REASONS } from '../../proto/drop-reason.ts';
import { ETHERNET_TYPE_OFFSET, ETHERTYPE_IPV4 } from '../../proto/ethernet.ts';
import { OWNER_FIRST_PEER } from '../../proto/forwarding-table.ts';
import { IPV4_TOTAL_LENGTH_OFFSET } from '../../proto/ipv4-packet.ts';
import { ipv4 } from '../../proto/address.ts';
import { VXLAN_HEADER_BYTES } from '../../proto/vxlan.ts';
import type { ReceivedDatagram } from './ingress.ts';
import { IOVEC_BYTES } from './kernel-layout.ts';
import type { PacketMemory } from './packet-memory.ts';
import { OVERLAY_HEADER_BYTES, type PeerRecords } from './peer-records.ts';
import type { SendBatch } from './send-batch.ts';
import { DROP } from './stats.ts';

const INNER_EGRESS = pointNumber('inner_egress');
const INNER_INGRESS = pointNumber('inner_ingress');
const OUTER_EGRESS = pointNumber('outer_egress');
const OUTER_INGRESS = pointNumber('outer_ingress');
const DROPPED_EGRESS = pointNumber('dropped_egress');
const DROPPED_INGRESS = pointNumber('dropped_ingress');
const FIRST_REASON = dropColumn(DROP_REASONS[0]);
const NOT_DROPPED = 0;
const SOCKADDR_PORT = 2;
const SOCKADDR_ADDRESS = 4;

export interface TapSource {
  /** Where the capture's file is mapped. */
  readonly ring: CaptureRingWriter;
  readonly records: PeerRecords;
  /** CLOCK_MONOTONIC milliseconds. */
  readonly nowMs: () => number;
}

export class Tap {
  /** Whether somebody captures; nothing is called while it is false. */
  isOn = false;
  readonly #memory: PacketMemory;
  #source: (TapSource & { readonly filter: CaptureMatch }) | undefined;

  constructor(memory: PacketMemory) {
    this.#memory = memory;
  }

  turnOn(source: TapSource): void {
    const { view } = this.#memory;
    this.#source = { ...source, filter: decodeFilter(view, source.ring.filterAt, view) };
    this.isOn = true;
  }

  turnOff(): void {
    this.isOn = false;
    this.#source = undefined;
  }

  /** An IPv4 packet from the TUN, sent or refused (`column` of DROP, 0 = sent); `row` of its peer. `available` may be less than nothing. */
  egress(ip: number, available: number, row: number, column: number): void {
    const length = Math.max(0, available);
    const point = column === NOT_DROPPED ? INNER_EGRESS : DROPPED_EGRESS;
    if (this.#wants(point, row, column) && this.#matches(ip, length, row)) {
      this.#copyPacket(point, column, row, ip, length);
    }
  }

  /** A train that was sent, or refused. */
  train(batch: SendBatch, train: number, column: number): void {
    for (let segment = 0; segment < batch.segments[train]!; segment++)
      this.segment(batch, train, segment, column); // !: a train of the batch
  }

  segment(batch: SendBatch, train: number, segment: number, column: number): void {
    const row = batch.rows[train]!; // !: a train of the batch
    const point = column === NOT_DROPPED ? OUTER_EGRESS : DROPPED_EGRESS;
    if (!this.#wants(point, row, column)) return;
    const { view } = this.#memory;
    const iovecs = batch.iovecsOf(train) + segment * 2 * IOVEC_BYTES;
    // The header's iovec ends at the payload for a plain packet, behind the copied TCP and IPv4 headers for a segment.
    const headerAt = this.#offsetOf(iovecs);
    const headerBytes = view.getUint32(iovecs + 8, true);
    const payloadAt = this.#offsetOf(iovecs + IOVEC_BYTES);
    const payloadBytes = view.getUint32(iovecs + IOVEC_BYTES + 8, true);
    const isWhole = headerBytes === OVERLAY_HEADER_BYTES;
    const ip = isWhole ? payloadAt : headerAt + OVERLAY_HEADER_BYTES;
    const ipBytes = isWhole ? payloadBytes : headerBytes - OVERLAY_HEADER_BYTES;
    if (!this.#matches(ip, ipBytes, row)) return;
    const source = this.#source!; // !: it is on
    const captured = Math.min(headerBytes + payloadBytes, source.filter.snapLength);
    const at = source.ring.reserve(captured);
    if (at === 0) return;
    const { bytes } = this.#memory;
    bytes.copyWithin(at, headerAt, headerAt + Math.min(headerBytes, captured));
    if (captured > headerBytes) {
      bytes.copyWithin(at + headerBytes, payloadAt, payloadAt + captured - headerBytes);
    }
    this.#tellPeer(row, batch.sockets[train]!); // !: a train of the batch
    this.#publish(point, column, row, FORM_FRAME, headerBytes + payloadBytes, captured);
  }

  /** One datagram that was sent outside of any batch: a probe. */
  sent(offset: number, length: number, slot: number): void {
    const row = OWNER_FIRST_PEER + slot;
    if (!this.#wants(OUTER_EGRESS, row, NOT_DROPPED) || !this.#matches(offset, 0, row)) return;
    const source = this.#source!; // !: it is on
    const captured = Math.min(length, source.filter.snapLength);
    const at = source.ring.reserve(captured);
    if (at === 0) return;
    this.#memory.bytes.copyWithin(at, offset, offset + captured);
    this.#tellPeer(row, 0);
    this.#publish(OUTER_EGRESS, NOT_DROPPED, row, FORM_FRAME, length, captured);
  }

  /** What the underlay gave, cut into its frames; `column`: every one of them is refused. */
  received(datagram: ReceivedDatagram, frameBytes: number, row: number, column: number): void {
    const { offset, length } = datagram;
    for (let at = 0; at === 0 || at < length; at += frameBytes) {
      const point = column === NOT_DROPPED ? OUTER_INGRESS : DROPPED_INGRESS;
      this.#frame(point, column, row, offset + at, Math.min(frameBytes, length - at), datagram);
    }
  }

  /** A datagram from an address that is no peer's: it arrived, and is refused. */
  stranger(datagram: ReceivedDatagram, frameBytes: number): void {
    this.received(datagram, frameBytes, NO_PEER_ROW, NOT_DROPPED);
    this.received(datagram, frameBytes, NO_PEER_ROW, DROP.unknown_sender);
  }

  /** Frames whose packets were accepted: those of the `bytes` from `offset` on. */
  accepted(offset: number, bytes: number, frameBytes: number, row: number): void {
    if (!this.#wants(INNER_INGRESS, row, NOT_DROPPED)) return;
    for (let at = 0; at < bytes; at += frameBytes) {
      const size = Math.min(frameBytes, bytes - at);
      const { view } = this.#memory;
      // A probe has no inner packet.
      if (view.getUint16(offset + at + VXLAN_HEADER_BYTES + ETHERNET_TYPE_OFFSET) !== ETHERTYPE_IPV4)
        continue;
      const ip = offset + at + OVERLAY_HEADER_BYTES;
      const length = Math.min(size - OVERLAY_HEADER_BYTES, view.getUint16(ip + IPV4_TOTAL_LENGTH_OFFSET));
      if (this.#matches(ip, length, row)) this.#copyPacket(INNER_INGRESS, NOT_DROPPED, row, ip, length);
    }
  }

  /** A frame that was refused. */
  refused(offset: number, length: number, row: number, column: number, datagram: ReceivedDatagram): void {
    this.#frame(DROPPED_INGRESS, column, row, offset, length, datagram);
  }

  /** A packet in pieces, `count` iovecs at `iovecs` after the virtio_net_hdr of `skip` bytes, that the TUN did not take. */
  notWritten(iovecs: number, count: number, skip: number, row: number, column: number): void {
    if (!this.#wants(DROPPED_INGRESS, row, column)) return;
    const { view, bytes } = this.#memory;
    const source = this.#source!; // !: it is on
    let length = -skip;
    for (let index = 0; index < count; index++)
      length += view.getUint32(iovecs + index * IOVEC_BYTES + 8, true);
    // The first piece is the virtio_net_hdr, alone or with the headers of the whole behind it.
    const isAlone = view.getUint32(iovecs + 8, true) === skip;
    const first = isAlone ? iovecs + IOVEC_BYTES : iovecs;
    const ip = this.#offsetOf(first) + (isAlone ? 0 : skip);
    if (!this.#matches(ip, view.getUint32(first + 8, true) - (isAlone ? 0 : skip), row)) return;
    const captured = Math.min(length, source.filter.snapLength);
    const at = source.ring.reserve(captured);
    if (at === 0) return;
    let written = 0;
    for (let index = 0; index < count && written < captured; index++) {
      const piece = iovecs + index * IOVEC_BYTES;
      const passedOver = index === 0 ? skip : 0;
      const from = this.#offsetOf(piece) + passedOver;
      const size = Math.min(captured - written, view.getUint32(piece + 8, true) - passedOver);
      bytes.copyWithin(at + written, from, from + size);
      written += size;
    }
    this.#tellPeer(row, NO_SOCKET);
    this.#publish(DROPPED_INGRESS, column, row, FORM_PACKET, length, captured);
  }

  #frame(
    point: number,
    column: number,
    row: number,
    offset: number,
    length: number,
    { source: address, sourcePort }: ReceivedDatagram,
  ): void {
    if (!this.#wants(point, row, column)) return;
    const source = this.#source!; // !: it is on
    const ipBytes = Math.max(0, length - OVERLAY_HEADER_BYTES);
    if (!source.filter.matches(offset + OVERLAY_HEADER_BYTES, ipBytes, ipv4(address))) return;
    const captured = Math.min(length, source.filter.snapLength);
    const at = source.ring.reserve(captured);
    if (at === 0) return;
    this.#memory.bytes.copyWithin(at, offset, offset + captured);
    source.ring.outer(address, sourcePort, NO_SOCKET);
    this.#publish(point, column, row, FORM_FRAME, length, captured);
  }

  #copyPacket(point: number, column: number, row: number, ip: number, length: number): void {
    const source = this.#source!; // !: it is on
    const captured = Math.min(length, source.filter.snapLength);
    const at = source.ring.reserve(captured);
    if (at === 0) return;
    this.#memory.bytes.copyWithin(at, ip, ip + captured);
    this.#tellPeer(row, NO_SOCKET);
    this.#publish(point, column, row, FORM_PACKET, length, captured);
  }

  #wants(point: number, row: number, column: number): boolean {
    const filter = this.#source!.filter; // !: it is on
    return filter.wants(point) && filter.concerns(row, placeOf(column));
  }

  #matches(ip: number, length: number, row: number): boolean {
    const { filter, records } = this.#source!; // !: it is on
    const outer =
      row < OWNER_FIRST_PEER
        ? NO_OUTER
        : ipv4(this.#memory.view.getUint32(records.addressOf(row - OWNER_FIRST_PEER) + SOCKADDR_ADDRESS));
    return filter.matches(ip, length, outer);
  }

  #tellPeer(row: number, socket: number): void {
    const { ring, records } = this.#source!; // !: it is on
    if (row < OWNER_FIRST_PEER) {
      ring.outer(0, 0, NO_SOCKET);
      return;
    }
    const { view } = this.#memory;
    const address = records.addressOf(row - OWNER_FIRST_PEER);
    ring.outer(view.getUint32(address + SOCKADDR_ADDRESS), view.getUint16(address + SOCKADDR_PORT), socket);
  }

  #publish(point: number, column: number, row: number, form: number, length: number, captured: number): void {
    const { ring, nowMs } = this.#source!; // !: it is on
    ring.publish(point, placeOf(column), row, form, nowMs(), length, captured);
  }

  /** Of what an iovec points at. */
  #offsetOf(iovec: number): number {
    return (this.#memory.view.getUint32(iovec, true) - this.#memory.baseLow) >>> 0;
  }
}

/** Place in DROP_REASONS of a column of DROP; -1 for none. */
const placeOf = (column: number): number => (column === NOT_DROPPED ? -1 : column - FIRST_REASON);
