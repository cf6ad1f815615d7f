// The TUN device's descriptor: packets are read one by one, densely into one area, and written from a batch. A write that fails is
// counted (EIO: the device is down); nothing waits for the TUN, whose queue drops what the stack cannot take.
// Area and journal are in flight (in-flight.ts): what was read and not sent when this process was killed is found by the next one.
import { IPV4_TOTAL_LENGTH_OFFSET } from '../../proto/ipv4-packet.ts';
import { VIRTIO_NET_HDR_BYTES } from '../../proto/virtio-net.ts';
import { errno, libc } from '../linux/libc.ts';
import type { Clock } from './clock.ts';
import type { ReportFailure } from './report.ts';
import type { PacketMemory } from './packet-memory.ts';
import { type DataplaneStats, COUNTER, DROP, GAUGE } from './stats.ts';
import type { Tap } from './tap.ts';
import type { WriteBatch } from './write-batch.ts';

/** virtio_net_hdr and the largest packet. */
const LARGEST_READ_BYTES = 65_552;
const AREA_BYTES = 512 * 1024;
/** Puts the IPv4 header, after a virtio_net_hdr of ten bytes, on a multiple of 16. */
const READ_SHIFT = 6;
const TUNGETIFF = 0x800454d2;
const SIOCGIFMTU = 0x8921;
const IFREQ_BYTES = 40;
const IFREQ_VALUE = 16;

/** Journal: how many packets lie in the area, and the length of each. */
const MOST_READS = 64;
const JOURNAL_BYTES = 4 + MOST_READS * 4;

export interface TunPortOptions {
  readonly memory: PacketMemory;
  /** Where packets are read to; mapped when the turn comes. */
  readonly inFlight: PacketMemory;
  readonly base: number;
  readonly fd: number;
  readonly stats: DataplaneStats;
  readonly clock: Clock;
  readonly report: ReportFailure;
  readonly tap?: Tap;
}

export class TunPort {
  readonly #options: TunPortOptions;
  readonly #area: number;
  readonly #journal: number;
  readonly #request: number;
  #cursor = READ_SHIFT;
  #reads = 0;

  constructor(options: TunPortOptions) {
    this.#options = options;
    this.#journal = options.inFlight.allocate(JOURNAL_BYTES);
    this.#area = options.inFlight.allocate(AREA_BYTES);
    this.#request = options.memory.allocate(IFREQ_BYTES);
  }

  /** Whether another packet fits behind those that were read since clear(). */
  get hasRoom(): boolean {
    return this.#reads < MOST_READS && this.#cursor + LARGEST_READ_BYTES <= AREA_BYTES;
  }

  /** Offset where the next read() puts its packet. */
  get readOffset(): number {
    return this.#area + this.#cursor;
  }

  /** Length of virtio_net_hdr and packet; 0 or less: none is there. Call keep() to read the next one behind it. */
  read(): number {
    return libc.read(this.#options.fd, this.#options.base + this.readOffset, LARGEST_READ_BYTES);
  }

  keep(length: number): void {
    const { view } = this.#options.memory;
    this.#cursor = after(this.#cursor, length);
    if (this.hasRoom) this.#markEmpty();
    view.setUint32(this.#journal + 4 + this.#reads * 4, length, true);
    this.#reads += 1;
    view.setUint32(this.#journal, this.#reads, true);
  }

  /** What was read is no longer needed. */
  clear(): void {
    this.#cursor = READ_SHIFT;
    this.#reads = 0;
    this.#markEmpty();
    this.#options.memory.view.setUint32(this.#journal, 0, true);
  }

  /** Visits what the process before had read and not cleared. To be called before the first read, then clear(). */
  unsent(visit: (offset: number, length: number) => void): void {
    const { view } = this.#options.memory;
    const reads = Math.min(MOST_READS, view.getUint32(this.#journal, true));
    let cursor = READ_SHIFT;
    for (let read = 0; read < reads; read++) {
      const length = view.getUint32(this.#journal + 4 + read * 4, true);
      if (length > LARGEST_READ_BYTES || cursor + length > AREA_BYTES) return;
      visit(this.#area + cursor, length);
      cursor = after(cursor, length);
    }
    if (reads === MOST_READS || cursor + LARGEST_READ_BYTES > AREA_BYTES) return;
    // A read that was done and not kept: its place was marked empty before.
    const ip = this.#area + cursor + VIRTIO_NET_HDR_BYTES;
    if (view.getUint32(ip, true) === EMPTY) return;
    visit(this.#area + cursor, VIRTIO_NET_HDR_BYTES + view.getUint16(ip + IPV4_TOTAL_LENGTH_OFFSET));
  }

  /** Before a read: a first word of zero is no IP packet's. */
  #markEmpty(): void {
    this.#options.memory.view.setUint32(this.readOffset + VIRTIO_NET_HDR_BYTES, EMPTY, true);
  }

  /** Writes and clears the batch. */
  flush(batch: WriteBatch): void {
    const { fd, base, stats, clock, report, tap } = this.#options;
    for (let write = 0; write < batch.writes; write++) {
      const row = batch.rowOf(write);
      const packets = batch.packetsOf(write);
      if (libc.writev(fd, base + batch.iovecsOf(write), batch.iovecCountOf(write)) < 0) {
        stats.add(row, DROP.tun_write_failed, packets);
        report('tun_write', errno());
        if (tap?.isOn === true) {
          const iovecs = batch.iovecsOf(write);
          tap.notWritten(iovecs, batch.iovecCountOf(write), VIRTIO_NET_HDR_BYTES, row, DROP.tun_write_failed);
        }
        continue;
      }
      stats.add(row, COUNTER.ingress_packets, packets);
      stats.add(row, COUNTER.ingress_bytes, batch.wireBytesOf(write));
      stats.set(row, GAUGE.last_ingress_ms, clock.nowMs);
    }
    batch.clear();
  }

  /** One packet with its virtio_net_hdr, of our own making. */
  writeNow(offset: number, length: number): void {
    libc.write(this.#options.fd, this.#options.base + offset, length);
  }

  /** The device's MTU, undefined when the kernel does not say. `socket` is any socket of the network namespace. */
  mtu(socket: number): number | undefined {
    const { memory, base, fd } = this.#options;
    if (libc.ioctl(fd, TUNGETIFF, base + this.#request) < 0) return undefined;
    if (libc.ioctl(socket, SIOCGIFMTU, base + this.#request) < 0) return undefined;
    return memory.view.getInt32(this.#request + IFREQ_VALUE, true);
  }
}

const EMPTY = 0;

/** Where the packet behind one at `cursor` goes. */
const after = (cursor: number, length: number): number => ((cursor + length + 15) & ~15) + READ_SHIFT;
