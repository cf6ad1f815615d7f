// A cable with faults, in userspace: forwards Ethernet frames between two devices, and on the way loses, doubles, holds back and corrupts VXLAN
// datagrams. Corruption flips one bit of the inner packet and makes the outer UDP checksum right again, so that only inner checksums
// protect. `node hostile-relay.ts DEVICE DEVICE SEED`, in a namespace of its own; ends with its standard input and prints its tally.
import { writeSync } from 'node:fs';
import process from 'node:process';

import { Arena } from '../../agent/linux/arena.ts';
import { check, libc } from '../../agent/linux/libc.ts';
import { folded, onesSum } from '../support/naive-offload.ts';
import { randomInt, seededRandom } from '../support/random.ts';
import { type RelayTally, VXLAN_PORT } from './hostile-cable.ts';

const AF_PACKET = 17;
const SOCK_RAW = 3;
const ETH_P_ALL_SWAPPED = 0x0300;
const SIOCGIFINDEX = 0x8933;
const SOL_PACKET = 263;
const PACKET_IGNORE_OUTGOING = 23;
const SOL_SOCKET = 1;
const SO_RCVBUFFORCE = 33;
const SO_SNDBUFFORCE = 32;
const SOCKET_BYTES = 64 << 20;
const MSG_DONTWAIT = 0x40;
const POLLIN = 1;
const STDIN = 0;
const POLL_MS = 10;
const BURST = 64;
const FRAME_BYTES = 70_000;

const IPV4_AT = 14;
const UDP_AT = 34;
const INNER_AT = UDP_AT + 8 + 8 + 14;

/** Of VXLAN datagrams, each way. */
const LOST = 0.005;
const DOUBLED = 0.01;
const HELD = 0.01;
const CORRUPTED = 0.005;
/** A held frame goes on after so many others, or when nothing comes. */
const MOST_OVERTAKING = 20;

interface Held {
  readonly frame: Uint8Array;
  after: number;
}

const [, , first = '', second = '', seedText = '1'] = process.argv;
const random = seededRandom(Number(seedText));
const arena = new Arena(4 * FRAME_BYTES);
const small = arena.allocate(64);
const buffer = arena.allocate(FRAME_BYTES);
const tally: RelayTally[] = [];

function open(device: string): number {
  const fd = check(libc.socket(AF_PACKET, SOCK_RAW, 0), () => 'open a packet socket');
  const setOption = (level: number, name: number, value: number): void => {
    small.view.setInt32(0, value, true);
    check(libc.setsockopt(fd, level, name, small.address, 4), () => `set option ${name} of a packet socket`);
  };
  setOption(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1);
  setOption(SOL_SOCKET, SO_RCVBUFFORCE, SOCKET_BYTES);
  setOption(SOL_SOCKET, SO_SNDBUFFORCE, SOCKET_BYTES);
  small.bytes.fill(0);
  small.bytes.set(new TextEncoder().encode(device)); // struct ifreq; /sys shows the devices of another namespace
  check(libc.ioctl(fd, SIOCGIFINDEX, small.address), () => `find the device "${device}"`);
  const interfaceIndex = small.view.getInt32(16, true);
  small.bytes.fill(0);
  small.view.setUint16(0, AF_PACKET, true);
  small.view.setUint16(2, ETH_P_ALL_SWAPPED, true);
  small.view.setInt32(4, interfaceIndex, true);
  check(libc.bind(fd, small.address, 20), () => `bind a packet socket to "${device}"`);
  return fd;
}

const isVxlan = (frame: Uint8Array): boolean =>
  frame.length > INNER_AT + 20 &&
  frame[12] === 8 &&
  frame[13] === 0 &&
  frame[IPV4_AT] === 0x45 &&
  frame[IPV4_AT + 9] === 17 &&
  frame[UDP_AT + 2] === VXLAN_PORT >>> 8 &&
  frame[UDP_AT + 3] === (VXLAN_PORT & 0xff);

function corrupt(frame: Uint8Array): void {
  const at = INNER_AT + randomInt(random, frame.length - INNER_AT);
  frame[at]! ^= 1 << randomInt(random, 8); // !: below the length
  if (frame[UDP_AT + 6] === 0 && frame[UDP_AT + 7] === 0) return; // the kernel's device sends none
  frame.fill(0, UDP_AT + 6, UDP_AT + 8);
  const udpBytes = frame[UDP_AT + 4]! * 256 + frame[UDP_AT + 5]!; // !: length checked
  const pseudo = onesSum(frame, IPV4_AT + 12, IPV4_AT + 20) + 17 + udpBytes;
  const checksum = 0xffff - folded(pseudo + onesSum(frame, UDP_AT, UDP_AT + udpBytes)) || 0xffff;
  frame[UDP_AT + 6] = checksum >>> 8;
  frame[UDP_AT + 7] = checksum & 0xff;
}

/** One way of the cable. */
function createWay(from: number, to: number): { take(): void; release(): void } {
  const counts = { frames: 0, lost: 0, doubled: 0, held: 0, corrupted: 0, failed: 0 };
  tally.push(counts);
  const held: Held[] = [];
  const send = (frame: Uint8Array): void => {
    buffer.bytes.set(frame);
    if (libc.send(to, buffer.address, frame.length, 0) < 0) counts.failed += 1;
  };
  const overtaken = (): void => {
    for (let index = held.length - 1; index >= 0; index--) {
      const one = held[index]!; // !: below the length
      one.after -= 1;
      if (one.after <= 0) held.splice(index, 1).forEach(({ frame }) => send(frame));
    }
  };
  const forward = (frame: Uint8Array): void => {
    if (!isVxlan(frame)) return send(frame);
    counts.frames += 1;
    const dice = random();
    if (dice < LOST) {
      counts.lost += 1;
    } else if (dice < LOST + DOUBLED) {
      counts.doubled += 1;
      send(frame);
      send(frame);
    } else if (dice < LOST + DOUBLED + HELD) {
      counts.held += 1;
      held.push({ frame, after: 1 + randomInt(random, MOST_OVERTAKING) });
      return;
    } else if (dice < LOST + DOUBLED + HELD + CORRUPTED) {
      counts.corrupted += 1;
      corrupt(frame);
      send(frame);
    } else {
      send(frame);
    }
    if (held.length > 0) overtaken();
  };
  return {
    take: () => {
      for (let count = 0; count < BURST; count++) {
        const length = libc.recv(from, buffer.address, FRAME_BYTES, MSG_DONTWAIT);
        if (length <= 0) return;
        forward(buffer.bytes.slice(0, length));
      }
    },
    release: () => {
      for (const { frame } of held.splice(0)) send(frame);
    },
  };
}

function run(): void {
  const left = open(first);
  const right = open(second);
  const ways = [createWay(left, right), createWay(right, left)];
  const entries = arena.allocate(3 * 8);
  for (const [index, fd] of [left, right, STDIN].entries()) {
    entries.view.setInt32(index * 8, fd, true);
    entries.view.setInt16(index * 8 + 4, POLLIN, true);
  }
  writeSync(1, 'ready\n');
  for (;;) {
    const ready = libc.poll(entries.address, 3, POLL_MS);
    if (entries.view.getInt16(2 * 8 + 6, true) !== 0) break;
    for (const [index, way] of ways.entries()) {
      if (entries.view.getInt16(index * 8 + 6, true) !== 0) way.take();
      if (ready === 0) way.release();
    }
  }
  writeSync(1, `${JSON.stringify(tally)}\n`);
}

run();
