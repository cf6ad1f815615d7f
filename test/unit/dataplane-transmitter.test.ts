// What becomes of a batch when the kernel refuses it: full queues, errors of earlier datagrams, no UDP_SEGMENT. The kernel is a script of
// errnos; what it takes is read through the message headers, as the kernel reads it.
import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { test } from 'node:test';

import { PeerRecords } from '../../agent/dataplane/peer-records.ts';
import { SendBatch } from '../../agent/dataplane/send-batch.ts';
import { COUNTER, DROP, DataplaneStats } from '../../agent/dataplane/stats.ts';
import { Transmitter } from '../../agent/dataplane/transmitter.ts';
import { PEER_SLOT, nonZero, testMemory, threeNodes } from '../support/dataplane-rig.ts';

const { EAGAIN, ECONNREFUSED, EIO, EMSGSIZE, ENETUNREACH, ENOBUFS } = constants.errno;
const ROW = 2 + PEER_SLOT;
const FIRST_FD = 100;
const OVERLAY_BYTES = 22;

interface Wait {
  readonly entries: number;
  readonly fd: number;
}

/** `errnos`: what each send fails with, one after the other; 0 or beyond the end = it succeeds. */
function createRig(errnos: readonly number[]) {
  const memory = testMemory(1 << 20);
  const records = new PeerRecords(memory);
  records.write(threeNodes());
  const stats = new DataplaneStats();
  const batch = new SendBatch(memory);
  const payload = memory.allocate(4096);
  const sent: { fd: number; iovecs: number }[] = [];
  const waits: Wait[] = [];
  const reported: [string, number][] = [];
  let sends = 0;
  let errno = 0;
  const { view } = memory;
  const mayFail = (): boolean => {
    errno = errnos[sends] ?? 0;
    sends += 1;
    return errno !== 0;
  };
  const take = (fd: number, message: number): void => {
    sent.push({ fd, iovecs: view.getUint32(message + 24, true) });
  };
  const transmitter = new Transmitter({
    memory,
    base: 0,
    sockets: Array.from({ length: 8 }, (_, index) => FIRST_FD + index),
    records,
    stats,
    report: (operation, code) => void reported.push([operation, code]),
    calls: {
      sendmsg(fd = -1, message = 0) {
        if (mayFail()) return -1;
        take(fd, message);
        return 1;
      },
      /** Takes one message at a time, as a kernel whose queue fills up. */
      sendmmsg(fd = -1, messages = 0) {
        if (mayFail()) return -1;
        take(fd, messages);
        return 1;
      },
      poll(entry = 0, entries = 0) {
        waits.push({ entries, fd: view.getInt32(entry, true) });
        return entries;
      },
      errno: () => errno,
    },
  });
  return {
    sent,
    waits,
    reported,
    batch,
    sends: () => sends,
    /** A train of so many segments of 100 bytes behind the overlay headers. */
    add(socket: number, segments: number): void {
      for (let index = 0; index < segments; index++) {
        const train = batch.place(socket, ROW, OVERLAY_BYTES + 100);
        batch.headers(train, payload, OVERLAY_BYTES);
        batch.payload(train, payload + OVERLAY_BYTES, 100);
      }
    },
    /** Sends the batch; what was counted in the peer's row. */
    flush(): Record<string, number> {
      transmitter.flush(batch);
      return nonZero({ ...COUNTER, ...DROP }, (column) => stats.get(ROW, column));
    },
  };
}

test('flush: a full socket buffer is waited for, on that socket, and nothing is lost', () => {
  const rig = createRig([EAGAIN, EAGAIN]);
  rig.add(3, 2);
  assert.deepEqual(rig.flush(), { egress_packets: 2, egress_bytes: 200 });
  assert.deepEqual(rig.waits, [
    { entries: 1, fd: FIRST_FD + 3 },
    { entries: 1, fd: FIRST_FD + 3 },
  ]);
  assert.deepEqual(rig.sent, [{ fd: FIRST_FD + 3, iovecs: 4 }]);
});

test('flush: a full device queue is waited for without a descriptor, which would be writable at once', () => {
  const rig = createRig([ENOBUFS]);
  rig.add(0, 1);
  assert.deepEqual(rig.flush(), { egress_packets: 1, egress_bytes: 100 });
  assert.deepEqual(
    rig.waits.map(({ entries }) => entries),
    [0],
  );
});

for (const [name, code] of [
  ['EAGAIN', EAGAIN],
  ['ENOBUFS', ENOBUFS],
] as const) {
  test(`flush: a queue that stays full holds a whole batch back five times, then it is counted (${name})`, () => {
    const rig = createRig(Array.from({ length: 100 }, () => code));
    for (let socket = 0; socket < 4; socket++) rig.add(socket, 3);
    assert.deepEqual(rig.flush(), { egress_send_failed: 12 });
    assert.equal(rig.waits.length, 5);
    assert.equal(rig.sends(), 9);
    assert.deepEqual(rig.reported[0], ['send', code]);
    assert.equal(rig.batch.trains, 0);
  });
}

test('flush: an error of an earlier datagram costs nothing', () => {
  const rig = createRig([ECONNREFUSED]);
  rig.add(0, 2);
  assert.deepEqual(rig.flush(), { egress_packets: 2, egress_bytes: 200 });
  assert.deepEqual(rig.reported, []);
});

test('flush: no route: counted, said, and the next train is tried', () => {
  const rig = createRig([ENETUNREACH, ENETUNREACH]);
  rig.add(0, 2);
  rig.add(1, 1);
  assert.deepEqual(rig.flush(), { egress_send_failed: 2, egress_packets: 1, egress_bytes: 100 });
  assert.deepEqual(rig.reported, [['send', ENETUNREACH]]);
});

test('flush: a train that the path cannot segment goes out one by one, in order', () => {
  const rig = createRig([EIO, 0, EAGAIN]);
  rig.add(5, 3);
  assert.deepEqual(rig.flush(), { egress_packets: 3, egress_bytes: 300 });
  assert.deepEqual(
    rig.sent.map(({ iovecs }) => iovecs),
    [2, 2, 2],
  );
  assert.equal(rig.waits.length, 1);
});

test('flush: a segment that is too big is counted as that', () => {
  const rig = createRig([EMSGSIZE, EMSGSIZE]);
  rig.add(0, 2);
  assert.deepEqual(rig.flush(), { egress_too_big: 1, egress_packets: 1, egress_bytes: 100 });
});

test('flush: trains of one socket that are taken one at a time all go out', () => {
  const rig = createRig([0, EAGAIN]);
  rig.add(2, 64);
  rig.add(2, 64);
  rig.add(2, 1);
  assert.deepEqual(rig.flush(), { egress_packets: 129, egress_bytes: 12_900 });
});
