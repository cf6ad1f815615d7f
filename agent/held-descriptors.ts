// What the keeper holds: the TUN device and the tunnel's sockets, opened afresh or taken over from the agent before. Packets that arrive
// while no data plane works wait in their queues.
import type { Ipv4 } from '../proto/address.ts';
import { libc } from './linux/libc.ts';
import { openTun, setOffloads } from './linux/tun.ts';
import { openReceiveSocket, openSendSocket } from './linux/udp-socket.ts';

const SEND_SOCKETS = 8;

export interface Binding {
  readonly nodeIp: Ipv4;
  readonly port: number;
}

export interface HeldDescriptors {
  readonly tun: number;
  readonly receive: number;
  readonly send: readonly number[];
}

/** Throws OperationError: of openTun, openReceiveSocket, openSendSocket. */
export function openDescriptors(tunName: string, binding: Binding): HeldDescriptors {
  return withTun(openTun({ name: tunName }).fd, binding);
}

/** `isBoundAlike`: its sockets have the addresses that ours need; otherwise only the TUN is taken over. Throws as openDescriptors. */
export function adoptDescriptors(
  [tun = -1, receive = -1, ...send]: readonly number[],
  { isBoundAlike, binding }: { isBoundAlike: boolean; binding: Binding },
): HeldDescriptors {
  if (isBoundAlike && send.length === SEND_SOCKETS) return { tun, receive, send };
  for (const fd of [receive, ...send]) libc.close(fd);
  return withTun(tun, binding);
}

/** Offloads are the device's: those of this version, once no other agent reads from it. */
export const claimOffloads = ({ tun }: HeldDescriptors): number => setOffloads(tun);

function withTun(tun: number, binding: Binding): HeldDescriptors {
  try {
    return { tun, ...openSockets(binding) };
  } catch (error) {
    libc.close(tun); // it is tried again
    throw error;
  }
}

function openSockets(binding: Binding): Omit<HeldDescriptors, 'tun'> {
  const receive = openReceiveSocket({ address: binding.nodeIp, port: binding.port });
  const send: number[] = [];
  try {
    while (send.length < SEND_SOCKETS) send.push(openSendSocket({ address: binding.nodeIp }));
    return { receive, send };
  } catch (error) {
    for (const fd of [receive, ...send]) libc.close(fd);
    throw error;
  }
}

export function closeDescriptors({ tun, receive, send }: HeldDescriptors): void {
  for (const fd of [tun, receive, ...send]) libc.close(fd);
}
