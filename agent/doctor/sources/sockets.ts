// Sockets of this network namespace at the agent's ports (/proc/net/udp, tcp and their IPv6 sisters), and who holds them.
import { readdirSync, readlinkSync } from 'node:fs';

import type { Socket } from '../scene.ts';
import { nameOf, processIds, roleOf } from './processes.ts';
import { readText } from './proc-files.ts';

const TCP_LISTEN = '0A';

/** 0100007F is 127.0.0.1: each four bytes in the order of the host. */
function addressText(hex: string): string {
  if (hex.length !== 8) return /^0+$/.test(hex) ? '::' : 'an IPv6 address';
  const octets = [6, 4, 2, 0].map((at) => Number.parseInt(hex.slice(at, at + 2), 16));
  return octets.join('.');
}

interface Question {
  readonly table: string;
  readonly ports: ReadonlySet<number>;
  /** As the kernel numbers them; undefined: all of them. */
  readonly wantedState?: string;
}

function socketsOf({ table, ports, wantedState }: Question): readonly Socket[] {
  const lines = (readText(`/proc/net/${table}`) ?? '').trim().split('\n').slice(1);
  return lines.flatMap((line): readonly Socket[] => {
    const words = line.trim().split(/\s+/);
    const [address = '', portHex = ''] = (words[1] ?? '').split(':');
    const port = Number.parseInt(portHex, 16);
    if (!ports.has(port) || (wantedState !== undefined && words[3] !== wantedState)) return [];
    const [, received = '0'] = (words[4] ?? '').split(':');
    return [
      {
        address: addressText(address),
        port,
        queuedBytes: Number.parseInt(received, 16),
        inode: words[9] ?? '',
        drops: table.startsWith('udp') ? Number(words[12] ?? 0) : 0,
        owner: undefined,
      },
    ];
  });
}

/** By inode; only of processes that may be looked at. */
function ownersOf(inodes: ReadonlySet<string>): ReadonlyMap<string, Socket['owner']> {
  const owners = new Map<string, Socket['owner']>();
  if (inodes.size === 0) return owners;
  for (const pid of processIds()) {
    let names: readonly string[];
    try {
      names = readdirSync(`/proc/${pid}/fd`);
    } catch {
      continue; // it has ended, or is not ours to look at
    }
    for (const name of names) {
      let target: string;
      try {
        target = readlinkSync(`/proc/${pid}/fd/${name}`);
      } catch {
        continue; // closed meanwhile
      }
      const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1];
      if (inode === undefined || !inodes.has(inode)) continue;
      const isAgent = roleOf(pid) !== undefined;
      if (!isAgent && owners.has(inode)) continue;
      owners.set(inode, { pid, command: nameOf(pid), isAgent });
    }
  }
  return owners;
}

function withOwners(sockets: readonly Socket[]): readonly Socket[] {
  const owners = ownersOf(new Set(sockets.map(({ inode }) => inode)));
  return sockets.map((socket) => Object.assign({}, socket, { owner: owners.get(socket.inode) }));
}

/** Bound to the port, without owners. */
export const readUdpCounts = (port: number): readonly Socket[] =>
  ['udp', 'udp6'].flatMap((table) => socketsOf({ table, ports: new Set([port]) }));

export const readUdpSockets = (port: number): readonly Socket[] => withOwners(readUdpCounts(port));

export const readListeners = (ports: readonly number[]): readonly Socket[] =>
  withOwners(
    ['tcp', 'tcp6'].flatMap((table) => socketsOf({ table, ports: new Set(ports), wantedState: TCP_LISTEN })),
  );
