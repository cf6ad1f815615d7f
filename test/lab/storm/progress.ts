// Points of progress: waits until so many writes, link changes, requests or answers have been seen since it was asked, and a little longer.
import { type FSWatcher, watch } from 'node:fs';
import { basename, dirname } from 'node:path';

import { Arena } from '../../../agent/linux/arena.ts';
import { check, libc } from '../../../agent/linux/libc.ts';
import { READABLE, openReadiness } from '../../../agent/linux/readiness.ts';
import { ALLOCATION_LOG } from './node-view.ts';
import { type Point, nowUs } from './protocol.ts';

const AF_NETLINK = 16;
const SOCK_RAW_NONBLOCK_CLOEXEC = 3 | 0o2004000;
const NETLINK_ROUTE = 0;
const RTMGRP_LINK = 1;
const DATAGRAM_BYTES = 32_768;
/** Shorter delays are spent spinning: a timer comes a millisecond late. */
const SPIN_US = 2000;

export interface Progress {
  readonly happened: (kind: Point['kind']) => void;
  /** Calls `act` at the point, or at the bound with false. One at a time. */
  readonly at: (point: Point, options: { boundMs: number; act: (reached: boolean) => void }) => void;
}

interface Armed {
  readonly point: Point;
  left: number;
  readonly fire: (reached: boolean) => void;
}

export function openProgress(): Progress {
  let armed: Armed | undefined;

  const fire = (reached: boolean): void => {
    const { fire: act, point } = armed ?? {};
    armed = undefined;
    if (act === undefined || point === undefined) return;
    const end = nowUs() + point.delayUs;
    const finish = (): void => {
      while (nowUs() < end);
      act(reached);
    };
    if (point.delayUs > SPIN_US) setTimeout(finish, Math.floor(point.delayUs / 1000) - 1);
    else finish();
  };

  const happened = (kind: Point['kind']): void => {
    if (armed?.point.kind !== kind) return;
    armed.left -= 1;
    if (armed.left <= 0) fire(true);
  };

  watchLog(() => happened('log'));
  watchLinks(() => happened('link'));
  return {
    happened,
    at(point, { boundMs, act }) {
      const bound = setTimeout(() => fire(false), boundMs);
      armed = {
        point,
        left: point.count,
        fire: (reached) => {
          clearTimeout(bound);
          act(reached);
        },
      };
      if (point.kind === 'now') fire(true);
    },
  };
}

/** The folder: the file itself is replaced when it is compacted. */
const watchLog = (changed: () => void): FSWatcher =>
  watch(dirname(ALLOCATION_LOG), (_event, name) => {
    if (name === basename(ALLOCATION_LOG)) changed();
  });

function watchLinks(changed: () => void): void {
  const memory = new Arena(DATAGRAM_BYTES + 256);
  const address = memory.allocate(12); // struct sockaddr_nl
  const datagram = memory.allocate(DATAGRAM_BYTES);
  address.view.setUint16(0, AF_NETLINK, true);
  address.view.setUint32(8, RTMGRP_LINK, true);
  const fd = check(
    libc.socket(AF_NETLINK, SOCK_RAW_NONBLOCK_CLOEXEC, NETLINK_ROUTE),
    () => 'open a netlink socket',
  );
  check(libc.bind(fd, address.address, 12), () => 'follow the changes of interfaces');
  openReadiness().watch(fd, READABLE, () => {
    while (libc.recv(fd, datagram.address, DATAGRAM_BYTES, 0) >= 0) changed();
  });
}
