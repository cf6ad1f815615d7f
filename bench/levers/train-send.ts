// What sending a train of 64 KiB (44 frames, UDP_SEGMENT) over a veth costs the sender: sendmsg(2) one by one, sendmmsg(2), io_uring, and
// MSG_ZEROCOPY with its notices read (of a train that lies in one piece: gathered from 88 pieces it is more fragments than an skb holds,
// which the program shows first). The way through the kernel into the other end's socket is in it, as on a machine with one queue.
import { check, errno, errnoName, libc } from '../../agent/linux/libc.ts';
import { IoUring, OPERATION } from './io-uring.ts';
import {
  MMSGHDR_BYTES,
  MSG_DONTWAIT,
  SOL_SOCKET,
  SOL_UDP,
  UDP_GRO,
  arena,
  costOf,
  expect,
  inNetns,
  openUdp,
  setOption,
} from './kernel.ts';
import { type Variant, compareInTurns } from './turns.ts';
import {
  FAR,
  NEAR,
  TRAIN_BYTES,
  TRAIN_FRAMES,
  createInbox,
  cutOnWire,
  makeWire,
  trainInOnePiece,
  trains,
} from './wire-lab.ts';

const TRAINS = 256;
const SO_ZEROCOPY = 60;
const MSG_ZEROCOPY = 0x4000000;
const MSG_ERRQUEUE = 0x2000;

export async function measureTrainSend(): Promise<void> {
  await makeWire();
  const receiver = inNetns('far', () => openUdp({ bind: `${FAR}:8472` }));
  setOption(receiver, SOL_UDP, UDP_GRO, 1);
  const inbox = createInbox(receiver, 16);
  const open = (): number => openUdp({ bind: `${NEAR}:0`, connect: `${FAR}:8472` });
  const fd = open();
  const copying = open();
  check(setOption(copying, SOL_SOCKET, SO_ZEROCOPY, 1), () => 'set SO_ZEROCOPY');
  const messages = trains(16);
  const way = (name: string, calls: number, send: () => number): Variant => ({
    name,
    take() {
      inbox.drain();
      let sent = 0;
      const cost = costOf(TRAINS * 1000, () => {
        for (let call = 0; call < calls; call++) sent += send();
      });
      expect(sent, TRAINS, `trains (${name})`);
      expect(inbox.drain(), TRAINS * TRAIN_BYTES, `bytes that arrived (${name})`);
      return cost;
    },
  });
  const whole = trainInOnePiece();
  const zeroCopy = createZeroCopy(copying, whole);
  const gathered = libc.sendmsg(copying, messages.address, MSG_DONTWAIT | MSG_ZEROCOPY);
  const reason = gathered < 0 ? errnoName(errno()) : 'sent';
  process.stdout.write(`MSG_ZEROCOPY of a train gathered from ${TRAIN_FRAMES * 2} pieces: ${reason}\n`);
  for (const isCut of [false, true]) {
    await cutOnWire(isCut);
    await compareInTurns({
      title: `Sending trains of ${TRAIN_BYTES} B, ${isCut ? 'cut before the wire' : 'whole on the wire'}`,
      unit: 'µs of thread CPU per train',
      rounds: isCut ? 5 : 11,
      variants: [
        way('sendmsg()', TRAINS, () => (libc.sendmsg(fd, messages.address, MSG_DONTWAIT) > 0 ? 1 : 0)),
        ...[4, 16].map((batch) =>
          way(`sendmmsg() of ${batch}`, TRAINS / batch, () =>
            libc.sendmmsg(fd, messages.address, batch, MSG_DONTWAIT),
          ),
        ),
        ...[1, 4, 16].map((batch) =>
          way(`io_uring SENDMSG, ${batch} at once`, TRAINS / batch, ringSend(fd, messages.address, batch)),
        ),
        way('sendmsg() of one piece', TRAINS, () => (libc.sendmsg(fd, whole, MSG_DONTWAIT) > 0 ? 1 : 0)),
        way('sendmsg(MSG_ZEROCOPY) of one piece, notices read every 16', TRAINS, zeroCopy),
      ],
    });
  }
  await cutOnWire(false);
  for (const each of [receiver, fd, copying]) libc.close(each);
}

function ringSend(fd: number, messages: number, batch: number): () => number {
  const ring = new IoUring(16);
  for (let index = 0; index < 16; index++) {
    ring.prepare(index, {
      operation: OPERATION.sendmsg,
      fd,
      address: messages + (index % batch) * MMSGHDR_BYTES,
      length: 1,
      operationFlags: MSG_DONTWAIT,
    });
  }
  return () => {
    const done = ring.submit(batch, batch);
    let sent = 0;
    for (let index = 0; index < done; index++) if (ring.result(index) > 0) sent++;
    ring.forget(done);
    return sent;
  };
}

/** Sends one train; every 16th call takes the notices off the error queue, as who reuses the buffers must. */
function createZeroCopy(fd: number, message: number): () => number {
  const notice = arena.allocate(MMSGHDR_BYTES);
  const control = arena.allocate(128);
  let calls = 0;
  return () => {
    const sent = libc.sendmsg(fd, message, MSG_DONTWAIT | MSG_ZEROCOPY);
    calls++;
    if (calls % 16 === 0) {
      do {
        notice.view.setBigUint64(32, BigInt(control.address), true);
        notice.view.setBigUint64(40, 128n, true);
      } while (libc.recvmsg(fd, notice.address, MSG_ERRQUEUE | MSG_DONTWAIT) >= 0);
    }
    return sent > 0 ? 1 : 0;
  };
}
