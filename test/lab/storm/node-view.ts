// What a node has, read from the kernel and the disk in a few milliseconds and without a word from the agent: pods' namespaces are entered
// with setns, which moves this thread alone.
import { closeSync, openSync, readFileSync, readdirSync } from 'node:fs';

import { createPodGuard } from '../../../agent/control/node/pod-guard.ts';
import { POD_PORT_PREFIX } from '../../../agent/control/node/pod-ports.ts';
import { AllocationRecords } from '../../../agent/ipam/allocation-records.ts';
import { decodeLog } from '../../../agent/ipam/log-record.ts';
import { listAddresses, listLinks, listRoutes } from '../../../agent/linux/interface.ts';
import { check, libc } from '../../../agent/linux/libc.ts';
import {
  NETLINK_NETFILTER,
  NETLINK_ROUTE,
  type NetlinkSocket,
  openNetlink,
} from '../../../agent/linux/netlink-socket.ts';
import { codeOf } from '../../../agent/operation-error.ts';
import { formatIpv4, formatMac } from '../../../proto/address.ts';
import { RT_TABLE_MAIN } from '../../../proto/rtnetlink-route.ts';
import type { NamespaceView, NodeView } from './protocol.ts';

export const ALLOCATION_LOG = '/var/lib/weft/allocations.log';
const NAMESPACES = '/run/netns';
const CLONE_NEWNET = 0x4000_0000;
const LOOPBACK = 'lo';

export interface NodeReader {
  readonly view: () => NodeView;
  /** Undefined when there is no such namespace. */
  readonly look: (netns: string) => NamespaceView | undefined;
}

export function openNodeReader(): NodeReader {
  const own = openSync('/proc/self/ns/net', 'r');
  const route = openNetlink(NETLINK_ROUTE);
  const guard = createPodGuard(openNetlink(NETLINK_NETFILTER));

  const enter = (fd: number): void =>
    void check(libc.setns(fd, CLONE_NEWNET), () => 'enter a network namespace');

  /** A socket stays in the namespace where it was opened. */
  const openIn = (path: string): NetlinkSocket | undefined => {
    let fd: number;
    try {
      fd = openSync(path, 'r');
    } catch {
      return undefined; // it went just now
    }
    try {
      enter(fd);
    } catch (error) {
      if (codeOf(error) === 'EINVAL') return undefined; // the file is there, the namespace not yet
      throw error;
    } finally {
      closeSync(fd);
    }
    try {
      return openNetlink(NETLINK_ROUTE);
    } finally {
      enter(own);
    }
  };

  const look = (netns: string): NamespaceView | undefined => {
    const pod = openIn(`${NAMESPACES}/${netns}`);
    if (pod === undefined) return undefined;
    try {
      const links = listLinks(pod).filter(({ name }) => name !== LOOPBACK);
      const indexes = new Set(links.map(({ index }) => index));
      return {
        netns,
        interfaces: links.map(({ name, address, up }) => ({
          name,
          up,
          mac: address === undefined ? '' : formatMac(address),
        })),
        addresses: listAddresses(pod)
          .filter(({ index }) => indexes.has(index))
          .map(({ address }) => formatIpv4(address)),
        hasDefaultRoute: listRoutes(pod).some(
          ({ destination, table }) => destination.prefixLength === 0 && table === RT_TABLE_MAIN,
        ),
      };
    } finally {
      pod.close();
    }
  };

  return {
    look,
    view: () => ({
      records: readRecords(),
      ports: listLinks(route)
        .filter(({ name }) => name.startsWith(POD_PORT_PREFIX))
        .map(({ name, alias, up }) => ({ name, up, hasAlias: alias !== undefined })),
      elements: guard.list().map(({ hostInterface }) => hostInterface),
      namespaces: readdirSync(NAMESPACES).flatMap((netns) => look(netns) ?? []),
    }),
  };
}

function readRecords(): NodeView['records'] {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(ALLOCATION_LOG);
  } catch {
    return []; // none yet
  }
  const records = new AllocationRecords();
  for (const entry of decodeLog(bytes).entries) records.apply(entry);
  return records.list().map(({ containerId, address }) => ({ containerId, address: formatIpv4(address) }));
}
