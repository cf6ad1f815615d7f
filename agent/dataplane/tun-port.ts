// The TUN device's descriptor: packets are read one by one, densely into one area, and written from a batch. A write that fails is
// counted (EIO: the device is down); nothing waits for the TUN, whose queue drops what the stack cannot take.
import { libc } from '../linux/libc.ts';
import { errno } from '../linux/libc.ts';
import type { Clock } from './clock.ts';
import type { ReportFailure } from './report.ts';
import type { PacketMemory } from './packet-memory.ts';
import { type DataplaneStats, COUNTER, DROP, GAUGE } from './stats.ts';
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

export interface TunPortOptions {
  readonly memory: PacketMemory;
  readonly base: number;
  readonly fd: number;
  readonly stats: DataplaneStats;
  readonly clock: Clock;
  readonly report: ReportFailure;
}

export class TunPort {
  readonly #options: TunPortOptions;
  readonly #area: number;
  readonly #request: number;
  #cursor = READ_SHIFT;

  constructor(options: TunPortOptions) {
    this.#options = options;
    this.#area = options.memory.allocate(AREA_BYTES);
    this.#request = options.memory.allocate(IFREQ_BYTES);
  }

  /** Whether another packet fits behind those that were read since clear(). */
  get hasRoom(): boolean {
    return this.#cursor + LARGEST_READ_BYTES <= AREA_BYTES;
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
    this.#cursor = ((this.#cursor + length + 15) & ~15) + READ_SHIFT;
  }

  /** What was read is no longer needed. */
  clear(): void {
    this.#cursor = READ_SHIFT;
  }

  /** Writes and clears the batch. */
  flush(batch: WriteBatch): void {
    const { fd, base, stats, clock, report } = this.#options;
    for (let write = 0; write < batch.writes; write++) {
      const row = batch.rows[write]!; // !: a write of the batch
      const packets = batch.packets[write]!; // !: a write of the batch
      if (libc.writev(fd, base + batch.iovecsOf(write), batch.iovecs[write]!) < 0) {
        stats.add(row, DROP.tun_write_failed, packets);
        report('tun_write_failed', errno());
        continue;
      }
      stats.add(row, COUNTER.ingress_packets, packets);
      stats.add(row, COUNTER.ingress_bytes, batch.wireBytes[write]!); // !: a write of the batch
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
