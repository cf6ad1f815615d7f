// Packets of given sizes around the edge of an MTU, each with or without DF, and what became of it: delivered whole, refused by an ICMP
// error, refused by the own interface, or lost. Sockets by the C library, since Node's cannot be told of DF, MSS or segments.
import { createHash, randomBytes } from 'node:crypto';
import { spawnSync } from 'node:child_process';
import { setTimeout as pause } from 'node:timers/promises';

import { Arena, type Region } from '../../../agent/linux/arena.ts';
import { check, errnoName, errno, libc } from '../../../agent/linux/libc.ts';
import { DIGEST_PORT, type EdgeAnswer, type EdgeSweep, SINK_PORT } from './protocol.ts';

const AF_INET = 2;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOL_IP = 0;
const IP_MTU_DISCOVER = 10;
const IP_RECVERR = 11;
/** No DF; DF whatever the route's MTU; as usual: DF, and the route's MTU. */
const PMTUDISC = { without: 0, always: 3, usual: 1 } as const;
const SOL_UDP = 17;
const UDP_SEGMENT = 103;
const IPPROTO_TCP = 6;
const TCP_MAXSEG = 2;
const MSG_ERRQUEUE = 0x2000;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const SHUT_WR = 1;
const IP_HEADER_BYTES = 20;
const UDP_HEADERS_BYTES = IP_HEADER_BYTES + 8;
const TCP_HEADERS_BYTES = IP_HEADER_BYTES + 20;
/** A datagram whose error was held back by the limit of errors a second is sent again; TCP does that itself. */
const TRIES = 40;
const ANSWER_MS = 120;
const STREAM_MS = 15_000;

const digestOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

interface Buffers {
  readonly address: Region;
  readonly value: Region;
  readonly data: Region;
  readonly message: Region;
  readonly iovec: Region;
  readonly control: Region;
}

let allocated: Buffers | undefined;
function buffers(): Buffers {
  if (allocated === undefined) {
    const arena = new Arena(1 << 20);
    allocated = {
      address: arena.allocate(16),
      value: arena.allocate(4),
      data: arena.allocate(65_536),
      message: arena.allocate(56),
      iovec: arena.allocate(16),
      control: arena.allocate(512),
    };
  }
  return allocated;
}

function open(type: number, target: string, port: number): number {
  const { address } = buffers();
  const fd = check(libc.socket(AF_INET, type | SOCK_NONBLOCK, 0), () => 'open a socket');
  address.view.setUint16(0, AF_INET, true);
  address.view.setUint16(2, port);
  for (const [index, octet] of target.split('.').entries()) address.view.setUint8(4 + index, Number(octet));
  return fd;
}

function setOption(fd: number, level: number, option: number, value: number): void {
  const region = buffers().value;
  region.view.setInt32(0, value, true);
  check(
    libc.setsockopt(fd, level, option, region.address, 4),
    () => `set option ${option} of level ${level}`,
  );
}

/** One at a time in a worker. */
export async function sweepEdge(sweep: EdgeSweep): Promise<readonly EdgeAnswer[]> {
  const answers: EdgeAnswer[] = [];
  for (const bytes of sweep.sizes) {
    // What earlier errors taught the pod's kernel about the route would keep the next ones from being sent.
    spawnSync('ip', ['route', 'flush', 'cache']);
    answers.push(
      sweep.transport === 'tcp' ? await tryStream(sweep, bytes) : await tryDatagrams(sweep, bytes),
    );
  }
  return answers;
}

async function tryDatagrams(sweep: EdgeSweep, bytes: number): Promise<EdgeAnswer> {
  for (let attempt = 0; attempt < TRIES; attempt += 1) {
    const answer = await tryDatagramsOnce(sweep, bytes);
    if (answer.outcome !== 'lost') return answer;
  }
  return { bytes, outcome: 'lost' };
}

/** One datagram, or as many as a super-packet has, all of which must be answered. */
async function tryDatagramsOnce(
  { target, dontFragment, segments }: EdgeSweep,
  bytes: number,
): Promise<EdgeAnswer> {
  const { data, address } = buffers();
  const payloadBytes = bytes - UDP_HEADERS_BYTES;
  const fd = open(SOCK_DGRAM, target, DIGEST_PORT);
  try {
    setOption(fd, SOL_IP, IP_MTU_DISCOVER, dontFragment ? PMTUDISC.always : PMTUDISC.without);
    setOption(fd, SOL_IP, IP_RECVERR, 1);
    if (segments > 1) setOption(fd, SOL_UDP, UDP_SEGMENT, payloadBytes);
    check(libc.connect(fd, address.address, 16), () => `connect to ${target}`);
    const sent = randomBytes(payloadBytes * segments);
    data.bytes.set(sent);
    if (libc.send(fd, data.address, sent.length, MSG_DONTWAIT) < 0) {
      return { bytes, outcome: errnoName(errno()) === 'EMSGSIZE' ? 'local' : 'lost' };
    }
    const expected = new Set(
      Array.from({ length: segments }, (_, index) =>
        digestOf(sent.subarray(index * payloadBytes, (index + 1) * payloadBytes)),
      ),
    );
    for (const end = performance.now() + ANSWER_MS; performance.now() < end; await pause(1)) {
      const refused = readError(fd);
      if (refused !== undefined) return { bytes, outcome: 'icmp', ...refused };
      for (let length; (length = libc.recv(fd, data.address, 65_536, MSG_DONTWAIT)) > 0;) {
        expected.delete(Buffer.from(data.bytes.subarray(0, length)).toString());
      }
      if (expected.size === 0) return { bytes, outcome: 'delivered' };
    }
    return { bytes, outcome: 'lost' };
  } finally {
    libc.close(fd);
  }
}

/** The next of the socket's errors (ip(7), IP_RECVERR): who sent it, and the MTU that it tells. */
function readError(fd: number): { readonly mtu: number; readonly from: string } | undefined {
  const { message, iovec, control, data } = buffers();
  message.bytes.fill(0);
  iovec.view.setBigUint64(0, BigInt(data.address), true);
  iovec.view.setBigUint64(8, 65_536n, true);
  message.view.setBigUint64(16, BigInt(iovec.address), true);
  message.view.setBigUint64(24, 1n, true);
  message.view.setBigUint64(32, BigInt(control.address), true);
  message.view.setBigUint64(40, BigInt(control.byteLength), true);
  if (libc.recvmsg(fd, message.address, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) return undefined;
  const CMSG_DATA = 16; // struct sock_extended_err, then the offender's struct sockaddr_in
  const origin = control.view.getUint8(CMSG_DATA + 4);
  const [type, code] = [control.view.getUint8(CMSG_DATA + 5), control.view.getUint8(CMSG_DATA + 6)];
  if (origin !== 2 || type !== 3 || code !== 4)
    throw new Error(`error of origin ${origin}, type ${type}, code ${code}`);
  const from = [...control.bytes.subarray(CMSG_DATA + 20, CMSG_DATA + 24)].join('.');
  return { mtu: control.view.getUint32(CMSG_DATA + 8, true), from };
}

/** A connection whose segments are that large, and three of them and a byte. */
async function tryStream({ target, dontFragment }: EdgeSweep, bytes: number): Promise<EdgeAnswer> {
  const { data, address } = buffers();
  const fd = open(SOCK_STREAM, target, SINK_PORT);
  try {
    setOption(fd, SOL_IP, IP_MTU_DISCOVER, dontFragment ? PMTUDISC.usual : PMTUDISC.without);
    setOption(fd, IPPROTO_TCP, TCP_MAXSEG, bytes - TCP_HEADERS_BYTES);
    libc.connect(fd, address.address, 16);
    const sent = randomBytes(3 * (bytes - TCP_HEADERS_BYTES) + 1);
    let received = '';
    let offset = 0;
    for (const end = performance.now() + STREAM_MS; performance.now() < end; await pause(1)) {
      if (offset < sent.length) {
        data.bytes.set(sent);
        const count = libc.send(fd, data.address + offset, sent.length - offset, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (count > 0) offset += count;
        if (offset === sent.length) libc.shutdown(fd, SHUT_WR);
        continue;
      }
      const length = libc.recv(fd, data.address, 65_536, MSG_DONTWAIT);
      if (length > 0) received += Buffer.from(data.bytes.subarray(0, length)).toString();
      if (length === 0) return { bytes, outcome: received === digestOf(sent) ? 'delivered' : 'lost' };
    }
    return { bytes, outcome: 'lost' };
  } finally {
    libc.close(fd);
  }
}
