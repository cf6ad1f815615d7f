// The tunnel's UDP sockets (udp(7), socket(7)). One for each worker receives on the tunnel port (reuseport-steering.ts says which gets
// what); several send, each from a port of its own, so that the outer source port carries inner-flow entropy for ECMP, RSS and SO_REUSEPORT.
import { type Ipv4, formatIpv4, ipv4 } from '../../proto/address.ts';
import { SOCKADDR_IN_BYTES, addressAt, portAt, storeSocketAddress } from '../../proto/socket-address.ts';
import { OperationError, codeOf } from '../operation-error.ts';
import { Arena, type Region } from './arena.ts';
import { check, libc } from './libc.ts';

const AF_INET = 2;
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_REUSEPORT = 15;
const SO_ATTACH_FILTER = 26;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SOL_IP = 0;
const IP_MTU_DISCOVER = 10;
const IP_PMTUDISC_DONT = 0;
const IP_PMTUDISC_PROBE = 3;
const SOL_UDP = 17;
const UDP_GRO = 104;

/** Holds 50,000 packets/s of 1,400 B for the time that a data plane takes to come back (kernel memory, charged only when used). */
const RECEIVE_BUFFER_BYTES = 64 << 20;
const SEND_BUFFER_BYTES = 8 << 20;
/** Sockets that are opened and given up for their port at most. */
const PASSED_OVER = 64;

/** One for all calls of the process: each arena reserves gigabytes of address space until it is collected. */
let memory: Memory | undefined;

interface Memory {
  readonly address: Region;
  readonly value: Region;
  /** struct sock_fprog and its one struct sock_filter. */
  readonly program: Region;
  readonly instruction: Region;
}

function allocated(): Memory {
  if (memory !== undefined) return memory;
  const arena = new Arena(1);
  memory = {
    address: arena.allocate(SOCKADDR_IN_BYTES),
    value: arena.allocate(4),
    program: arena.allocate(16),
    instruction: arena.allocate(8),
  };
  return memory;
}

export interface SocketAddress {
  readonly address: Ipv4;
  readonly port: number;
}

/** The socket that receives tunnel datagrams, with UDP_GRO where the kernel has it. Throws OperationError: PORT_IN_USE, ADDRESS_NOT_LOCAL. */
export function openReceiveSocket(options: SocketAddress): number {
  return bound(openUnboundReceiveSocket(), options);
}

/** One that receives nothing before bindSocket(). Throws OperationError (errno's name). */
export function openUnboundReceiveSocket(): number {
  const fd = openSocket();
  setInt({ fd, level: SOL_SOCKET, option: SO_REUSEPORT, value: 1 });
  setInt({ fd, level: SOL_SOCKET, option: SO_RCVBUFFORCE, value: RECEIVE_BUFFER_BYTES });
  setInt({ fd, level: SOL_UDP, option: UDP_GRO, value: 1 }); // older kernels refuse: datagrams then come one by one
  return fd;
}

/**
 * `count` sockets that only send, whose ports differ modulo `count`: the peer chooses a worker by the port, so no worker of a peer goes
 * without flows by chance. Throws OperationError.
 */
export function openSendSockets({ address, count }: { address: Ipv4; count: number }): readonly number[] {
  const kept = new Map<number, number>();
  const passedOver: number[] = [];
  try {
    while (kept.size < count) {
      const fd = openSendSocket({ address });
      const remainder = closedOnFailure(fd, () => portOf(fd)) % count;
      const isUseful = !kept.has(remainder);
      if (isUseful || passedOver.length === PASSED_OVER) {
        kept.set(isUseful ? remainder : -kept.size - 1, fd);
      } else passedOver.push(fd); // open still, or its port might be drawn again
    }
    return [...kept.values()];
  } catch (error) {
    for (const fd of kept.values()) libc.close(fd);
    throw error;
  } finally {
    for (const fd of passedOver) libc.close(fd);
  }
}

/** A socket that only sends: a classic BPF filter drops whatever arrives at its port. */
export function openSendSocket(options: { address: Ipv4 }): number {
  const { instruction, program } = allocated();
  const fd = bound(openSocket(), { ...options, port: 0 });
  setInt({ fd, level: SOL_SOCKET, option: SO_SNDBUFFORCE, value: SEND_BUFFER_BYTES });
  // Like the kernel's vxlan device, no DF on the outer packet: the device MTU keeps it below the underlay's.
  setInt({ fd, level: SOL_IP, option: IP_MTU_DISCOVER, value: IP_PMTUDISC_DONT });
  instruction.view.setUint16(0, 0x06, true); // { BPF_RET | BPF_K, 0, 0, 0 }: accept 0 bytes
  program.view.setUint16(0, 1, true);
  program.view.setBigUint64(8, BigInt(instruction.address), true);
  closedOnFailure(fd, () =>
    check(
      libc.setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, program.address, 16),
      () => 'attach a socket filter',
    ),
  );
  return fd;
}

const openSocket = (): number =>
  check(libc.socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), () => 'open a UDP socket');

/** Returns the socket, or closes it and throws. */
function bound(fd: number, to: SocketAddress): number {
  closedOnFailure(fd, () => bindSocket(fd, to));
  return fd;
}

function closedOnFailure<Result>(fd: number, finish: () => Result): Result {
  try {
    return finish();
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

/** A socket like a send socket, at the address of the bound socket `near`, whose datagrams all have DF, and fit the interface or are refused. */
export function openProbeSocket(near: number): number {
  const fd = openSendSocket({ address: localAddressOf(near) });
  setInt({ fd, level: SOL_IP, option: IP_MTU_DISCOVER, value: IP_PMTUDISC_PROBE });
  return fd;
}

/** Throws OperationError: PORT_IN_USE, ADDRESS_NOT_LOCAL. */
export function bindSocket(fd: number, to: SocketAddress): void {
  const { address } = allocated();
  storeSocketAddress(address.view, 0, to);
  try {
    check(
      libc.bind(fd, address.address, SOCKADDR_IN_BYTES),
      () => `bind UDP ${formatIpv4(to.address)}:${to.port}`,
    );
  } catch (error) {
    throw explained(error, to);
  }
}

/** Of a bound socket. */
export const portOf = (fd: number): number => portAt(nameOf(fd), 0);

const localAddressOf = (fd: number): Ipv4 => ipv4(addressAt(nameOf(fd), 0));

/** The struct sockaddr_in that a socket is bound to; overwritten by the next call. */
function nameOf(fd: number): DataView {
  const { address, value } = allocated();
  value.view.setInt32(0, SOCKADDR_IN_BYTES, true);
  check(libc.getsockname(fd, address.address, value.address), () => 'read the address of a socket');
  return address.view;
}

function explained(error: unknown, { address, port }: { address: Ipv4; port: number }): unknown {
  const where = `${formatIpv4(address)}:${port}`;
  if (codeOf(error) === 'EADDRINUSE') {
    return new OperationError(
      `Cannot receive on UDP ${where}: another program holds the port; stop it (ss -ulpn 'sport = :${port}') or set WEFT_PORT on every node`,
      { code: 'PORT_IN_USE', cause: error },
    );
  }
  if (codeOf(error) === 'EADDRNOTAVAIL') {
    return new OperationError(
      `Cannot bind UDP ${where}: the node has no such address; set WEFT_NODE_IP to an address of this node`,
      { code: 'ADDRESS_NOT_LOCAL', cause: error },
    );
  }
  return error;
}

function setInt(wanted: { fd: number; level: number; option: number; value: number }): void {
  const { value } = allocated();
  value.view.setInt32(0, wanted.value, true);
  libc.setsockopt(wanted.fd, wanted.level, wanted.option, value.address, value.byteLength);
}
