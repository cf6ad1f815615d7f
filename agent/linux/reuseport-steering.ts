// Which receive socket of a SO_REUSEPORT group a tunnel datagram goes to: a classic BPF program of the group (socket(7)
// SO_ATTACH_REUSEPORT_CBPF, net/core/sock_reuseport.c). Its answer is an index in the order in which the sockets were bound. Needs no privilege.
// Invariant: datagrams of one outer source port, so all of one inner flow, meet one socket; probe frames meet socket 0.
import { ETHERTYPE_PROBE, ETHERNET_TYPE_OFFSET } from '../../proto/ethernet.ts';
import { VXLAN_HEADER_BYTES } from '../../proto/vxlan.ts';
import { Arena } from './arena.ts';
import { check, libc } from './libc.ts';

const SOL_SOCKET = 1;
const SO_ATTACH_REUSEPORT_CBPF = 51;

// linux/bpf_common.h and linux/filter.h
const LOAD_HALF_ABSOLUTE = 0x28; // BPF_LD | BPF_H | BPF_ABS
const LOAD_HALF_INDIRECT = 0x48; // BPF_LD | BPF_H | BPF_IND
const LOAD_X_HEADER_LENGTH = 0xb1; // BPF_LDX | BPF_B | BPF_MSH
const JUMP_IF_EQUAL = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const MODULO = 0x94; // BPF_ALU | BPF_MOD | BPF_K
const RETURN_A = 0x16; // BPF_RET | BPF_A
const RETURN_CONSTANT = 0x06; // BPF_RET | BPF_K
/** Offsets from here on are the network header's; the others are the UDP payload's. */
const SKF_NET_OFF = -0x100000;
const INSTRUCTION_BYTES = 8;

/** struct sock_filter. */
interface Instruction {
  readonly code: number;
  readonly k: number;
  readonly ifTrue?: number;
}

/** A datagram that is too short to have an inner EtherType goes to socket 0, as the kernel ends a program that loads beyond the packet with 0. */
const program = (sockets: number): readonly Instruction[] => [
  { code: LOAD_HALF_ABSOLUTE, k: VXLAN_HEADER_BYTES + ETHERNET_TYPE_OFFSET },
  { code: JUMP_IF_EQUAL, k: ETHERTYPE_PROBE, ifTrue: 4 },
  { code: LOAD_X_HEADER_LENGTH, k: SKF_NET_OFF },
  { code: LOAD_HALF_INDIRECT, k: SKF_NET_OFF }, // the outer source port
  { code: MODULO, k: sockets },
  { code: RETURN_A, k: 0 },
  { code: RETURN_CONSTANT, k: 0 },
];

/** Of `socket`'s group, which has at least `sockets`; takes the place of an earlier program. Throws OperationError (errno's name). */
export function steerBySourcePort(socket: number, sockets: number): void {
  const instructions = program(sockets);
  const arena = new Arena(1);
  const filter = arena.allocate(instructions.length * INSTRUCTION_BYTES);
  for (const [index, { code, k, ifTrue = 0 }] of instructions.entries()) {
    filter.view.setUint16(index * INSTRUCTION_BYTES, code, true);
    filter.view.setUint8(index * INSTRUCTION_BYTES + 2, ifTrue);
    filter.view.setInt32(index * INSTRUCTION_BYTES + 4, k, true);
  }
  const handle = arena.allocate(16); // struct sock_fprog
  handle.view.setUint16(0, instructions.length, true);
  handle.view.setBigUint64(8, BigInt(filter.address), true);
  check(
    libc.setsockopt(socket, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, handle.address, handle.byteLength),
    () => `steer the datagrams of ${sockets} receive sockets`,
  );
}
