// What the shim passed is what it should be: a network namespace other than the agent's own, and a routing netlink socket opened inside
// of it. Asked of the kernel, because the agent configures whatever these two point at with all its rights.
import { fstatSync, statSync } from 'node:fs';

import { type Decoded, decoded, refused } from '../../proto/decoded.ts';
import { Arena } from './arena.ts';
import { libc } from './libc.ts';

const NS_GET_NSTYPE = 0xb703;
const CLONE_NEWNET = 0x40000000;
const SIOCGSKNS = 0x894c;
const SOL_SOCKET = 1;
const SO_PROTOCOL = 38;
const SO_DOMAIN = 39;
const AF_NETLINK = 16;
const NETLINK_ROUTE = 0;

export interface PodDescriptors {
  readonly netlinkFd: number;
  readonly netnsFd: number;
}

export type PodDescriptorsRefusal =
  | 'not-a-network-namespace'
  | 'own-network-namespace'
  | 'not-a-netlink-socket'
  | 'socket-of-another-namespace';

export type PodDescriptorsCheck = (
  descriptors: PodDescriptors,
) => Decoded<{ readonly netnsInode: number }, PodDescriptorsRefusal>;

export function createPodDescriptorsCheck(): PodDescriptorsCheck {
  const option = new Arena(1).allocate(8);

  const socketOption = (fd: number, name: number): number => {
    option.view.setUint32(4, 4, true);
    const result = libc.getsockopt(fd, SOL_SOCKET, name, option.address, option.address + 4);
    return result < 0 ? -1 : option.view.getInt32(0, true);
  };

  /** Inode of the namespace that a socket belongs to; undefined where the kernel does not tell. */
  const namespaceOfSocket = (fd: number): number | undefined => {
    const namespace = libc.ioctl(fd, SIOCGSKNS, 0);
    if (namespace < 0) return undefined;
    const { ino } = fstatSync(namespace);
    libc.close(namespace);
    return ino;
  };

  return ({ netlinkFd, netnsFd }) => {
    if (libc.ioctl(netnsFd, NS_GET_NSTYPE, 0) !== CLONE_NEWNET) return refused('not-a-network-namespace');
    const netnsInode = fstatSync(netnsFd).ino;
    if (netnsInode === statSync('/proc/self/ns/net').ino) return refused('own-network-namespace');
    const isNetlink =
      socketOption(netlinkFd, SO_DOMAIN) === AF_NETLINK &&
      socketOption(netlinkFd, SO_PROTOCOL) === NETLINK_ROUTE;
    if (!isNetlink) return refused('not-a-netlink-socket');
    if (namespaceOfSocket(netlinkFd) !== netnsInode) return refused('socket-of-another-namespace');
    return decoded({ netnsInode });
  };
}
