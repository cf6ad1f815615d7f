// Network namespaces for contract tests: the test's own thread moves into a fresh one, and pods are further ones that only a
// descriptor holds, so all of it goes when the process ends. Children are started from the thread's namespace.
import { spawnSync } from 'node:child_process';

import { Arena } from '../../agent/linux/arena.ts';
import { check, libc } from '../../agent/linux/libc.ts';

const CLONE_NEWNET = 0x40000000;
const O_CLOEXEC = 0x80000;
const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 3 | O_CLOEXEC;

const arena = new Arena(65_536);
const path = arena.allocate(64);

const ownNamespace = (): number => {
  path.bytes.set(new TextEncoder().encode('/proc/thread-self/ns/net\0'));
  return check(libc.open(path.address, O_CLOEXEC, 0), () => 'open the network namespace');
};

/** Leaves the machine's namespace for a new one; nothing that follows in this thread touches the machine's. */
export function enterFreshNamespace(): void {
  check(libc.unshare(CLONE_NEWNET), () => 'make a network namespace');
  run('ip link set lo up');
}

export interface PodNamespace {
  readonly netnsFd: number;
  /** NETLINK_ROUTE, opened inside, as the CNI shim does it. */
  readonly netlinkFd: number;
  readonly run: (command: string) => string;
  readonly tries: (command: string) => boolean;
  /** A socket made inside. */
  readonly socket: (family: number, type: number, protocol: number) => number;
  close(): void;
}

function within<T>(netnsFd: number, work: () => T): T {
  const home = ownNamespace();
  check(libc.setns(netnsFd, CLONE_NEWNET), () => 'enter the pod');
  try {
    return work();
  } finally {
    check(libc.setns(home, CLONE_NEWNET), () => 'leave the pod');
    libc.close(home);
  }
}

export function makePodNamespace(): PodNamespace {
  const home = ownNamespace();
  check(libc.unshare(CLONE_NEWNET), () => 'make a network namespace');
  const netnsFd = ownNamespace();
  const netlinkFd = libc.socket(AF_NETLINK, SOCK_RAW_CLOEXEC, 0);
  check(libc.setns(home, CLONE_NEWNET), () => 'leave the pod');
  libc.close(home);
  return {
    netnsFd,
    netlinkFd,
    run: (command) => within(netnsFd, () => run(command)),
    tries: (command) => within(netnsFd, () => tries(command)),
    socket: (family, type, protocol) =>
      within(netnsFd, () => check(libc.socket(family, type | O_CLOEXEC, protocol), () => 'open a socket')),
    close() {
      libc.close(netlinkFd);
      libc.close(netnsFd);
    },
  };
}

/** Runs a command in the current namespace and answers its output; throws with what it said when it fails. */
export function run(command: string): string {
  const { status, stdout, stderr } = spawnSync('/bin/sh', ['-c', command], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`"${command}" ended with ${status}: ${stderr}${stdout}`);
  return stdout;
}

export const tries = (command: string): boolean => spawnSync('/bin/sh', ['-c', command]).status === 0;

const ATTEMPTS = 200;

/** Reads until the value is the expected one or a bound of attempts is met, and answers the last value: packets take a moment. */
export function settle<T>(read: () => T, expected: T): T {
  let value = read();
  for (let attempt = 1; attempt < ATTEMPTS && value !== expected; attempt += 1) value = read();
  return value;
}

/** A counter of the namespace that the command runs in, such as Udp NoPorts, from its /proc/net/snmp. */
export function snmpCounter(
  runInside: (command: string) => string,
  [protocol, name]: readonly [protocol: string, name: string],
): number {
  const [names, values] = runInside('cat /proc/net/snmp')
    .split('\n')
    .filter((line) => line.startsWith(`${protocol}:`))
    .map((line) => line.split(' '));
  return Number(values?.[names?.indexOf(name) ?? -1]);
}

/** UDP datagrams to closed ports that the namespace has received. */
export const unwantedDatagrams = (runInside: (command: string) => string): number =>
  snmpCounter(runInside, ['Udp', 'NoPorts']);

export const json = (output: string): readonly Record<string, unknown>[] =>
  JSON.parse(output) as readonly Record<string, unknown>[]; // as: ip's and nft's own form

/** The node as the agent finds it: an underlay interface with an address, and the TUN that the keeper opened. */
export function furnishNode(): void {
  run('ip link add eth0 type veth peer name switch0');
  run('ip addr add 172.31.0.11/24 dev eth0; ip link set eth0 up; ip link set switch0 up');
  run('ip route add default via 172.31.0.1');
  run('ip tuntap add dev weft0 mode tun multi_queue');
}
