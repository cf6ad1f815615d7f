// Listens to what the kernel tells of interfaces, addresses, routes, their settings and nftables, and says when something of ours may have
// been changed. What was lost counts as a change. Costs nothing while the kernel is silent; in a storm the socket is read a few times a second.
import { NFNLGRP_NFTABLES } from '../../../proto/nfnetlink-event.ts';
import {
  RTNLGRP_IPV4_IFADDR,
  RTNLGRP_IPV4_NETCONF,
  RTNLGRP_IPV4_ROUTE,
  RTNLGRP_LINK,
} from '../../../proto/rtnetlink-event.ts';
import type { Clock } from '../../kube/clock.ts';
import { openNetlinkEvents } from '../../linux/netlink-events.ts';
import { isOwnPort, NETLINK_NETFILTER, NETLINK_ROUTE } from '../../linux/netlink-socket.ts';
import type { Readiness } from '../../linux/readiness.ts';
import { type Batch, createBatch, type Disturbance } from './network-events.ts';
import type { ExpectedNetwork } from './node-network.ts';

export interface NetworkWatchOptions {
  readonly readiness: Readiness;
  readonly clock: Clock;
  /** Undefined: nothing was made yet, so nothing can be disturbed. */
  readonly expected: () => ExpectedNetwork | undefined;
  readonly disturbed: (disturbance: Disturbance) => void;
  /** Tests overflow a small one. */
  readonly queueBytes?: number;
}

export interface NetworkWatch {
  close(): void;
}

/** Between two readings: more comes together, and each costs less. */
const REST_MS = 50;

const SOURCES = [
  {
    protocol: NETLINK_ROUTE,
    groups: [RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV4_NETCONF],
    part: 'route',
  },
  { protocol: NETLINK_NETFILTER, groups: [NFNLGRP_NFTABLES], part: 'netfilter' },
] as const;

/** Throws OperationError: an errno name. */
export function openNetworkWatch(options: NetworkWatchOptions): NetworkWatch {
  const opened = SOURCES.map((source) => watchSource(source, options));
  return {
    close() {
      for (const source of opened) source.close();
    },
  };
}

function watchSource(
  { protocol, groups, part }: (typeof SOURCES)[number],
  { readiness, clock, expected, disturbed, ...rest }: NetworkWatchOptions,
): NetworkWatch {
  const events = openNetlinkEvents({ protocol, groups, readiness, ...rest });
  let cancelRest: (() => void) | undefined;
  let unwatch: (() => void) | undefined;

  const read = (): void => {
    const network = expected();
    const batch: Batch | undefined = network === undefined ? undefined : createBatch(network);
    const lost = events.read((message) => batch?.[part](message, isOwnPort(protocol, message.portId)));
    const found = batch?.end();
    if (lost) disturbed({ author: found?.author, rules: true });
    else if (found !== undefined) disturbed(found);
  };
  const watch = (): void => {
    unwatch = events.watch(() => {
      unwatch?.();
      cancelRest = clock.setTimer(REST_MS, watch);
      read();
    });
  };
  watch();

  return {
    close() {
      unwatch?.();
      cancelRest?.();
      events.close();
    },
  };
}
