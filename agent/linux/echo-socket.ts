// Round trips to an address without CAP_NET_RAW (icmp(7), ip(7)): an ICMP datagram socket where net.ipv4.ping_group_range lets us have one,
// else a UDP datagram to a port that nobody listens on, whose refusal (ICMP port unreachable, ECONNREFUSED) is the answer. One request
// is under way at a time. Errors of the path (host unreachable) are heard too, by IP_RECVERR.
import { constants } from 'node:os';

import type { Ipv4 } from '../../proto/address.ts';
import { ICMP_ECHO_REPLY, ICMP_ECHO_REQUEST, ICMP_HEADER_BYTES } from '../../proto/icmp.ts';
import { SOCKADDR_IN_BYTES, storeSocketAddress } from '../../proto/socket-address.ts';
import { Arena, type Region } from './arena.ts';
import { check, errno, errnoName, libc } from './libc.ts';

const AF_INET = 2;
const SOCK_DGRAM_NONBLOCK_CLOEXEC = 2 | 0o4000 | 0o2000000;
const IPPROTO_ICMP = 1;
const SOL_IP = 0;
const IP_RECVERR = 11;
const POLLIN = 1;
const BUFFER_BYTES = 65_536;
/** The first port that traceroute uses: nobody is expected there. */
const CLOSED_PORT = 33_434;
const { EAGAIN, ECONNREFUSED } = constants.errno;

export type EchoMeans = 'icmp' | 'udp';

export interface EchoSocket {
  readonly means: EchoMeans;
  /** Undefined, or the errno's name with which it did not leave. */
  send(sequence: number, payloadBytes: number): string | undefined;
  /** Waits at most so long, blocking. `answered`; an errno's name that the path reported; undefined: nothing yet. */
  receive(sequence: number, waitMs: number): 'answered' | { readonly code: string } | undefined;
  close(): void;
}

let memory: { readonly buffer: Region; readonly small: Region } | undefined;

function allocated(): NonNullable<typeof memory> {
  if (memory === undefined) {
    const arena = new Arena(BUFFER_BYTES + 4096);
    memory = { buffer: arena.allocate(BUFFER_BYTES), small: arena.allocate(64) };
  }
  return memory;
}

/** Throws OperationError (errno's name). */
export function openEchoSocket(address: Ipv4): EchoSocket {
  const { buffer, small } = allocated();
  const icmp = libc.socket(AF_INET, SOCK_DGRAM_NONBLOCK_CLOEXEC, IPPROTO_ICMP);
  const means: EchoMeans = icmp >= 0 ? 'icmp' : 'udp';
  const fd =
    icmp >= 0
      ? icmp
      : check(libc.socket(AF_INET, SOCK_DGRAM_NONBLOCK_CLOEXEC, 0), () => 'open a socket for round trips');
  storeSocketAddress(small.view, 0, { address, port: means === 'icmp' ? 0 : CLOSED_PORT });
  if (libc.connect(fd, small.address, SOCKADDR_IN_BYTES) < 0) {
    const code = errnoName(errno());
    libc.close(fd);
    return unreachable(means, code);
  }
  small.view.setInt32(0, 1, true);
  libc.setsockopt(fd, SOL_IP, IP_RECVERR, small.address, 4);
  const headerBytes = means === 'icmp' ? ICMP_HEADER_BYTES : 0;
  return {
    means,
    send(sequence, payloadBytes) {
      buffer.bytes.fill(0, 0, headerBytes + payloadBytes);
      if (means === 'icmp') {
        buffer.view.setUint8(0, ICMP_ECHO_REQUEST); // the kernel fills in identifier and checksum
        buffer.view.setUint16(6, sequence & 0xffff);
      }
      const sent = libc.send(fd, buffer.address, headerBytes + payloadBytes, 0);
      // An error of an earlier datagram comes out of the next call: then it is tried again.
      if (sent >= 0 || libc.send(fd, buffer.address, headerBytes + payloadBytes, 0) >= 0) return undefined;
      return errnoName(errno());
    },
    receive(sequence, waitMs) {
      small.view.setInt32(0, fd, true);
      small.view.setInt16(4, POLLIN, true);
      small.view.setInt16(6, 0, true);
      if (libc.poll(small.address, 1, waitMs) <= 0) return undefined;
      const length = libc.recv(fd, buffer.address, BUFFER_BYTES, 0);
      if (length < 0) {
        const code = errno();
        if (code === EAGAIN) return undefined;
        if (code === ECONNREFUSED && means === 'udp') return 'answered';
        return { code: errnoName(code) };
      }
      if (means === 'udp') return 'answered'; // somebody listens there after all
      const isOurs = length >= ICMP_HEADER_BYTES && buffer.view.getUint8(0) === ICMP_ECHO_REPLY;
      return isOurs && buffer.view.getUint16(6) === (sequence & 0xffff) ? 'answered' : undefined;
    },
    close: () => void libc.close(fd),
  };
}

/** The kernel has no way there at all. */
const unreachable = (means: EchoMeans, code: string): EchoSocket => ({
  means,
  send: () => code,
  receive: () => ({ code }),
  close: () => undefined,
});
