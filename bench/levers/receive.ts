// How many messages one recvmmsg(2) should take: datagrams of 64 KiB that UDP_GRO joined, and single frames of 1,472 B from a wire that
// cuts before it. Everything that came is read once after each call, as the checksum or the write to the TUN does: large batches push
// it out of the L2 cache before that.
import { libc } from '../../agent/linux/libc.ts';
import {
  MSG_DONTWAIT,
  SOL_UDP,
  UDP_GRO,
  costOf,
  expect,
  inNetns,
  openUdp,
  readOnce,
  setOption,
} from './kernel.ts';
import { type Variant, compareInTurns } from './turns.ts';
import {
  FAR,
  FRAME_BYTES,
  NEAR,
  TRAIN_BYTES,
  TRAIN_FRAMES,
  createInbox,
  cutOnWire,
  makeWire,
  trains,
} from './wire-lab.ts';

const TRAINS = 128;

export async function measureReceive(): Promise<void> {
  await makeWire();
  const fd = inNetns('far', () => openUdp({ bind: `${FAR}:8472` }));
  setOption(fd, SOL_UDP, UDP_GRO, 1);
  const sender = openUdp({ bind: `${NEAR}:0`, connect: `${FAR}:8472` });
  const messages = trains(16);
  const inbox = createInbox(fd, 128);
  const fill = (): void => {
    for (let sent = 0; sent < TRAINS; sent += 16) {
      expect(libc.sendmmsg(sender, messages.address, 16, MSG_DONTWAIT), 16, 'trains sent');
    }
  };
  const taking = (batch: number, datagramBytes: number): Variant => ({
    name: `recvmmsg() of ${batch}${batch === 16 ? ' (product)' : ''}`,
    take() {
      inbox.drain();
      fill();
      let bytes = 0;
      const cost = costOf((TRAINS * TRAIN_BYTES) / datagramBytes, () => {
        for (let got = inbox.receive(batch); got > 0; got = inbox.receive(batch)) {
          for (let index = 0; index < got; index++) {
            const length = inbox.lengthOf(index);
            readOnce(inbox.offsetOf(index), length);
            bytes += length;
          }
          if (got < batch) break;
        }
      });
      expect(bytes, TRAINS * TRAIN_BYTES, 'bytes');
      return cost;
    },
  });
  await cutOnWire(false);
  await compareInTurns({
    title: `Receiving datagrams of ${TRAIN_BYTES} B (UDP_GRO) and reading them once`,
    unit: 'ns of thread CPU per datagram',
    rounds: 11,
    digits: 0,
    variants: [16, 1, 2, 4, 8, 64].map((batch) => taking(batch, TRAIN_BYTES)),
  });
  await cutOnWire(true);
  await compareInTurns({
    title: `Receiving frames of ${FRAME_BYTES} B, ${TRAIN_FRAMES} to a train, and reading them once`,
    unit: 'ns of thread CPU per frame',
    rounds: 11,
    digits: 0,
    variants: [16, 1, 4, 32, 64, 128].map((batch) => taking(batch, FRAME_BYTES)),
  });
  await cutOnWire(false);
  libc.close(fd);
  libc.close(sender);
}
