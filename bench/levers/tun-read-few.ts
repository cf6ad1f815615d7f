// What a wake-up of the reader costs when few packets wait in the TUN, which is what a batch must not make dearer: read(2) until EAGAIN,
// read(2) of exactly what is there (what knowing it would save), io_uring batches of 16 (links do not end them early: a read shorter
// than its buffer breaks the chain), and a multishot request that stays armed. The packets are sent before the clock runs; the clock's
// own cost is in every figure.
import { libc } from '../../agent/linux/libc.ts';
import { IoUring, OPERATION, SQE_BUFFER_SELECT } from './io-uring.ts';
import { arena, expect, openUdp, threadNs } from './kernel.ts';
import { IFF_MULTI_QUEUE, openTunWith } from './tun-lab.ts';
import { type Variant, compareInTurns } from './turns.ts';

const WAKE_UPS = 400;
const READ_BYTES = 65_552;
const STRIDE = 65_600;
const BATCH = 16;
const BUFFERS = 64;
const CQE_F_MORE = 2;
/** Without it a read that finds nothing stays pending, although the descriptor is O_NONBLOCK. */
const RWF_NOWAIT = 8;

interface Place {
  readonly tun: number;
  readonly send: () => void;
}

interface Way {
  readonly name: string;
  readonly place: Place;
  /** Reads the packets that wait; returns how many these were. */
  readonly read: (waiting: number) => number;
}

const buffers = arena.allocate(BUFFERS * STRIDE);
const bufferOf = (index: number): number => buffers.address + index * STRIDE;

export async function measureTunReadFew(): Promise<void> {
  const place = await openPlace('tun-few', '10.10.0');
  const armed = await openPlace('tun-armed', '10.11.0'); // the armed request would take the others' packets
  const ways: Way[] = [
    { name: 'read() until EAGAIN (product)', place, read: () => untilEmpty(place.tun) },
    { name: 'read() of what is there, no more', place, read: (waiting) => exactly(place.tun, waiting) },
    { name: `io_uring READ, ${BATCH} at once`, place, read: batched(place.tun) },
    { name: 'io_uring READ_MULTISHOT, armed', place: armed, read: multishot(armed.tun) },
  ];
  for (const waiting of [1, 4, 15]) {
    await compareInTurns({
      title: `Reading the TUN when it holds ${waiting} of 64 B`,
      unit: 'µs of thread CPU per wake-up',
      rounds: 11,
      variants: ways.map((way) => variant(way, waiting)),
    });
  }
}

async function openPlace(name: string, net: string): Promise<Place> {
  const tun = await openTunWith({ name, flags: IFF_MULTI_QUEUE, address: `${net}.1` });
  const socket = openUdp({ bind: `${net}.1:4000`, connect: `${net}.2:4001` });
  const payload = arena.allocate(64);
  return { tun, send: () => libc.send(socket, payload.address, 64, 0) };
}

const variant = ({ name, place, read }: Way, waiting: number): Variant => ({
  name,
  take() {
    let taken = 0;
    let cost = 0;
    for (let wakeUp = 0; wakeUp < WAKE_UPS; wakeUp++) {
      for (let packet = 0; packet < waiting; packet++) place.send();
      const before = threadNs();
      taken += read(waiting);
      cost += threadNs() - before;
    }
    expect(taken, waiting * WAKE_UPS, `packets (${name})`);
    return cost / WAKE_UPS / 1000;
  },
});

function untilEmpty(tun: number): number {
  let read = 0;
  while (libc.read(tun, bufferOf(read), READ_BYTES) > 0) read++;
  return read;
}

function exactly(tun: number, waiting: number): number {
  let read = 0;
  while (read < waiting && libc.read(tun, bufferOf(read), READ_BYTES) > 0) read++;
  return read;
}

/** More of them waiting than a batch holds would take a second one. */
function batched(tun: number): (waiting: number) => number {
  const ring = new IoUring(BATCH);
  for (let index = 0; index < BATCH; index++) {
    ring.prepare(index, {
      operation: OPERATION.read,
      fd: tun,
      address: bufferOf(index),
      length: READ_BYTES,
      operationFlags: RWF_NOWAIT,
    });
  }
  return () => {
    const done = ring.submit(BATCH, BATCH);
    let read = 0;
    for (let index = 0; index < done; index++) if (ring.result(index) > 0) read++;
    ring.forget(done);
    return read;
  };
}

function multishot(tun: number): (waiting: number) => number {
  const ring = new IoUring(BUFFERS);
  const provide = ring.provideBuffers(BUFFERS, READ_BYTES, bufferOf);
  for (let index = 0; index < BUFFERS; index++) {
    ring.prepare(index, {
      operation: OPERATION.readMultishot,
      fd: tun,
      address: 0,
      length: 0,
      flags: SQE_BUFFER_SELECT,
    });
  }
  let armed = false;
  return (waiting) => {
    let read = 0;
    for (let calls = 0; read < waiting && calls < BUFFERS; calls++) {
      if (!armed) provide();
      const done = ring.submit(armed ? 0 : 1, 1);
      armed = true;
      for (let index = 0; index < done; index++) {
        if (ring.result(index) > 0) read++;
        if ((ring.flags(index) & CQE_F_MORE) === 0) armed = false;
      }
      ring.forget(done);
    }
    return read;
  };
}
