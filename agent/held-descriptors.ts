// What the keeper holds: the TUN device's queues and the tunnel's sockets, opened afresh or taken over from the agent before. Packets that
// arrive while no data plane works wait in their queues.
// Invariant: each worker has a queue of the TUN and a receive socket, the send sockets are all workers' (docs/decisions/0018); the receive
// sockets were bound in the order of the workers, which is what the group's program chooses by.
import type { Ipv4 } from '../proto/address.ts';
import type { DescriptorSet, WorkerDescriptors } from './hand-over/descriptor-list.ts';
import { Arena } from './linux/arena.ts';
import { libc } from './linux/libc.ts';
import { steerBySourcePort } from './linux/reuseport-steering.ts';
import { attachTun, openTun, openTunQueue, setOffloads, useTunQueue } from './linux/tun.ts';
import {
  bindSocket,
  openReceiveSocket,
  openSendSockets,
  openUnboundReceiveSocket,
} from './linux/udp-socket.ts';

const SEND_SOCKETS = 8;

export interface Binding {
  readonly tunName: string;
  readonly nodeIp: Ipv4;
  readonly port: number;
  /** How many data plane workers there are to be. */
  readonly workers: number;
}

export type HeldDescriptors = DescriptorSet;

/** Throws OperationError: of openTun, openReceiveSocket, openSendSockets, steerBySourcePort. */
export function openDescriptors(binding: Binding): HeldDescriptors {
  const queues: number[] = [];
  return closedOnFailure(queues, () => {
    while (queues.length < binding.workers) queues.push(openTun({ name: binding.tunName }).fd);
    return withSockets(queues, binding);
  });
}

/**
 * `isBoundAlike`: its sockets have the addresses that ours need; otherwise only the TUN is taken over. Where there are to be more workers
 * than it had, the others' descriptors are open but of no use before joinDescriptors(); where fewer, its number stays: a queue that is
 * closed takes along what waits in it. Throws as openDescriptors, with all of them closed.
 */
export function adoptDescriptors(
  adopted: DescriptorSet,
  { isBoundAlike, binding }: { readonly isBoundAlike: boolean; readonly binding: Binding },
): HeldDescriptors {
  const { workers, send } =
    isBoundAlike && adopted.send.length === SEND_SOCKETS ? adopted : rebound(adopted, binding);
  const opened = [...workers.flatMap(({ tun, receive }) => [tun, receive]), ...send];
  const open = (fd: number): number => {
    opened.push(fd);
    return fd;
  };
  return closedOnFailure(opened, () => ({
    workers: [
      ...workers,
      ...Array.from({ length: Math.max(0, binding.workers - workers.length) }, () => ({
        tun: open(openTunQueue({ name: binding.tunName })),
        receive: open(openUnboundReceiveSocket()),
      })),
    ],
    send,
  }));
}

/** Puts the descriptors of the workers from `first` on to use, once no other agent works. Throws as openDescriptors. */
export function joinDescriptors(held: HeldDescriptors, first: number, binding: Binding): void {
  for (const { tun, receive } of held.workers.slice(first)) {
    attachTun(new Arena(1), tun, binding.tunName);
    bindSocket(receive, { address: binding.nodeIp, port: binding.port });
  }
  steer(held);
}

/**
 * Before an agent takes over that serves the first worker's descriptors only: those of the others get nothing any more. What waits in their
 * queues of the TUN at that moment is lost.
 */
export function leaveToFirst({ workers: [first, ...others] }: HeldDescriptors): void {
  if (first === undefined || others.length === 0) return;
  steerBySourcePort(first.receive, 1);
  for (const { tun } of others) useTunQueue(tun, false);
}

/** The opposite of leaveToFirst, and of what another agent made of the group. */
export function reclaim(held: HeldDescriptors): void {
  for (const { tun } of held.workers.slice(1)) useTunQueue(tun, true);
  steer(held);
}

/** Offloads are the device's: those of this version, once no other agent reads from it. */
export const claimOffloads = ({ workers: [first] }: HeldDescriptors): number =>
  first === undefined ? 0 : setOffloads(first.tun);

export function closeDescriptors({ workers, send }: HeldDescriptors): void {
  for (const fd of [...workers.flatMap(({ tun, receive }) => [tun, receive]), ...send]) libc.close(fd);
}

/** With sockets of our own in place of theirs. */
function rebound({ workers, send }: DescriptorSet, binding: Binding): HeldDescriptors {
  for (const fd of [...workers.map(({ receive }) => receive), ...send]) libc.close(fd);
  const queues = workers.map(({ tun }) => tun);
  return closedOnFailure(queues, () => withSockets(queues, binding));
}

function withSockets(queues: readonly number[], { nodeIp, port }: Binding): HeldDescriptors {
  const sockets: number[] = [];
  return closedOnFailure(sockets, () => {
    const workers = queues.map((tun): WorkerDescriptors => {
      const receive = openReceiveSocket({ address: nodeIp, port });
      sockets.push(receive);
      return { tun, receive };
    });
    const held = { workers, send: openSendSockets({ address: nodeIp, count: SEND_SOCKETS }) };
    sockets.push(...held.send);
    steer(held);
    return held;
  });
}

/** One socket alone needs no program, and kernels without it (before 4.5) serve one worker. */
function steer({ workers }: HeldDescriptors): void {
  const [first] = workers;
  if (first !== undefined && workers.length > 1) steerBySourcePort(first.receive, workers.length);
}

/** It is tried again: nothing may be left open. */
function closedOnFailure<T>(opened: readonly number[], open: () => T): T {
  try {
    return open();
  } catch (error) {
    for (const fd of opened) libc.close(fd);
    throw error;
  }
}
