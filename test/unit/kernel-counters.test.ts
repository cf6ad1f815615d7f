// What the kernel dropped around the data plane, read from files as /proc/net has them.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { readTunnelDrops } from '../../agent/telemetry/kernel-counters.ts';

// Copied from a node (Linux 6.18) with two workers; 0x1A80 is 6784.
const UDP = `   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  640: 0B001FAC:1A80 00000000:0000 07 00000000:00001500 00:00000000 00000000     0        0 811 2 0000000000000000 17
  640: 0B001FAC:1A80 00000000:0000 07 00000000:00000100 00:00000000 00000000     0        0 812 2 0000000000000000 3
  900: 00000000:1A81 00000000:0000 07 00000000:00777700 00:00000000 00000000     0        0 813 2 0000000000000000 99
  901: 0B001FAC:D431 0C001FAC:1A80 01 00000000:00777700 00:00000000 00000000     0        0 814 2 0000000000000000 99
`;
const DEV = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 836622687 2015054    0    9    0     0          0         0 836622687 2015054    0    8    0     0       0          0
 weft01:       1       1    0    7    0     0          0         0        1       1    0    6    0     0       0          0
 weft0:52103 611    1    4    0     0          0         0    61200     700    0    12    0     0       0          0
`;

const readOf = (files: Readonly<Record<string, string>>) => (path: string) => {
  const content = files[path];
  if (content === undefined) throw new Error(`no ${path}`);
  return content;
};

test('readTunnelDrops adds up the sockets that are bound to the port, and no others', () => {
  const read = readOf({ '/proc/net/udp': UDP, '/proc/net/dev': DEV });
  assert.deepEqual(readTunnelDrops({ port: 6784, tunName: 'weft0', read }), {
    sockets: { waitingBytes: 0x1600, droppedPackets: 20 },
    tun: { egressPackets: 12, ingressPackets: 4 },
  });
});

test('readTunnelDrops tells that there is no socket and no TUN', () => {
  const read = readOf({ '/proc/net/udp': UDP, '/proc/net/dev': DEV });
  const nothing = { sockets: undefined, tun: undefined };
  assert.deepEqual(readTunnelDrops({ port: 6785 + 1, tunName: 'weft', read }), nothing);
  assert.deepEqual(readTunnelDrops({ port: 6784, tunName: 'weft0', read: readOf({}) }), nothing);
});

test('readTunnelDrops reads the files of this kernel', () => {
  assert.notEqual(readTunnelDrops({ port: 1, tunName: 'lo' }).tun, undefined);
});
