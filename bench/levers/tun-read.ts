// What reading one small packet from the TUN costs the reader: read(2) one by one, io_uring in batches, multishot io_uring with
// provided buffers. The queue is filled beforehand, so the sender's time is not in it; each read has room for the largest packet.
import { libc } from '../../agent/linux/libc.ts';
import { IoUring, OPERATION, SQE_BUFFER_SELECT, SQE_FIXED_FILE } from './io-uring.ts';
import {
  MMSGHDR_BYTES,
  MSG_DONTWAIT,
  arena,
  costOf,
  expect,
  openUdp,
  setIovec,
  setMessage,
} from './kernel.ts';
import { FAR_ADDRESS, IFF_MULTI_QUEUE, QUEUE, TUN_ADDRESS, openTunWith } from './tun-lab.ts';
import { type Variant, compareInTurns } from './turns.ts';

const PACKETS = QUEUE - 64;
const PAYLOAD_BYTES = 64;
const READ_BYTES = 65_552;
const STRIDE = 65_600;
const AT_ONCE = 64;
const CQE_F_BUFFER = 1;
const CQE_F_MORE = 2;
/** Without it a read that finds nothing stays pending, although the descriptor is O_NONBLOCK. */
const RWF_NOWAIT = 8;

export async function measureTunRead(): Promise<void> {
  const tun = await openTunWith({ name: 'tun-read', flags: IFF_MULTI_QUEUE, address: TUN_ADDRESS });
  const fill = createSender(openUdp({ bind: `${TUN_ADDRESS}:4000`, connect: `${FAR_ADDRESS}:4001` }));
  const buffers = arena.allocate(AT_ONCE * STRIDE);
  const bufferOf = (index: number): number => buffers.address + index * STRIDE;

  const oneByOne = (name: string, addressOf: (packet: number) => number): Variant => ({
    name,
    take() {
      fill();
      let read = 0;
      const cost = costOf(PACKETS, () => {
        for (; read < PACKETS; read++) if (libc.read(tun, addressOf(read), READ_BYTES) <= 0) break;
      });
      expect(read, PACKETS, 'reads');
      return cost;
    },
  });
  await compareInTurns({
    title: `TUN read of a UDP packet of ${PAYLOAD_BYTES} B`,
    unit: 'ns of thread CPU per packet',
    rounds: 15,
    digits: 0,
    variants: [
      oneByOne('read(), packed densely (product)', (packet) => buffers.address + (packet & 63) * 128),
      oneByOne('read(), each into a buffer of 64 KiB', (packet) => bufferOf(packet & 63)),
      ...[1, 16, 64].map((batch) => batched(tun, { batch, fixed: false, fill, bufferOf })),
      batched(tun, { batch: 64, fixed: true, fill, bufferOf }),
      multishot(tun, { fill, bufferOf }),
      empty(tun, buffers.address),
    ],
  });
  libc.close(tun);
}

interface Place {
  readonly fill: () => void;
  readonly bufferOf: (index: number) => number;
}

function batched(
  tun: number,
  { batch, fixed, fill, bufferOf }: Place & { batch: number; fixed: boolean },
): Variant {
  const ring = new IoUring(AT_ONCE);
  if (fixed) ring.registerFile(tun);
  for (let index = 0; index < AT_ONCE; index++) {
    ring.prepare(index, {
      operation: OPERATION.read,
      fd: fixed ? 0 : tun,
      address: bufferOf(index),
      length: READ_BYTES,
      flags: fixed ? SQE_FIXED_FILE : 0,
      operationFlags: RWF_NOWAIT,
    });
  }
  return {
    name: `io_uring READ, ${batch} at once${fixed ? ', fixed file' : ''}`,
    take() {
      fill();
      let read = 0;
      const cost = costOf(PACKETS, () => {
        for (let rounds = PACKETS / batch; rounds > 0; rounds--) {
          const done = ring.submit(batch, batch);
          for (let index = 0; index < done; index++) if (ring.result(index) > 0) read++;
          ring.forget(done);
        }
      });
      expect(read, PACKETS, 'reads');
      return cost;
    },
  };
}

/** Ends when the buffers are used up, and is then armed again with all of them. */
function multishot(tun: number, { fill, bufferOf }: Place): Variant {
  const ring = new IoUring(AT_ONCE);
  const provide = ring.provideBuffers(AT_ONCE, READ_BYTES, bufferOf);
  for (let index = 0; index < AT_ONCE; index++) {
    ring.prepare(index, {
      operation: OPERATION.readMultishot,
      fd: tun,
      address: 0,
      length: 0,
      flags: SQE_BUFFER_SELECT,
    });
  }
  let armed = false;
  return {
    name: 'io_uring READ_MULTISHOT, ring of 64 buffers',
    take() {
      fill();
      let read = 0;
      let calls = 0;
      const cost = costOf(PACKETS, () => {
        while (read < PACKETS && calls < PACKETS) {
          if (!armed) provide();
          const done = ring.submit(armed ? 0 : 1, 1);
          armed = true;
          calls++;
          for (let index = 0; index < done; index++) {
            if ((ring.flags(index) & CQE_F_BUFFER) !== 0) read++;
            if ((ring.flags(index) & CQE_F_MORE) === 0) armed = false;
          }
          ring.forget(done);
        }
      });
      expect(read, PACKETS, 'reads');
      return cost;
    },
  };
}

const empty = (tun: number, address: number): Variant => ({
  name: 'read() of an empty queue (EAGAIN)',
  take: () =>
    costOf(PACKETS, () => {
      for (let call = 0; call < PACKETS; call++) libc.read(tun, address, READ_BYTES);
    }),
});

/** Returns what puts PACKETS packets into the queue of the TUN. */
function createSender(fd: number): () => void {
  const payload = arena.allocate(PAYLOAD_BYTES);
  const iovec = arena.allocate(16);
  const messages = arena.allocate(AT_ONCE * MMSGHDR_BYTES);
  setIovec(iovec, 0, payload.address, PAYLOAD_BYTES);
  for (let index = 0; index < AT_ONCE; index++) setMessage(messages, index, iovec.address, 1);
  return () => {
    for (let sent = 0; sent < PACKETS; sent += AT_ONCE) {
      expect(libc.sendmmsg(fd, messages.address, AT_ONCE, MSG_DONTWAIT), AT_ONCE, 'packets sent');
    }
  };
}
