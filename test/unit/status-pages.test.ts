import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  connectionsPage,
  formatAge,
  ipamPage,
  peersPage,
  statusPage,
} from '../../agent/control/status/status-pages.ts';
import { nodeReport } from '../support/node-report.ts';

test('/status: one screen', () => {
  assert.equal(
    statusPage(nodeReport),
    `
   Version: 0.1.0
      Node: node-a (6d3f1a52-9f5e-4d39-8d61-0a4e7a5b1c01)
  Underlay: 192.0.2.1 port 6784, VTEP MAC 0e:11:22:33:44:55
     Ready: yes
       API: connected; last heard 4s ago
     Peers: 3 (1 established, 1 pending, 1 failed)
     Range: 10.32.0.0/12, blocks of /26
    Bridge: 10.40.0.1, MTU 1450, masquerade on
    Blocks: 10.40.0.0/26, 10.40.0.64/26 (fenced)
 Addresses: 2 used, 61 free
Data plane: process 4711, up 1h01m, table 12
     Drops: 25 (unknown_sender 12, pod_spoofed 8, truncated 3, …)
  Restarts: control 0, dataplane 2
   Repairs: 3, last: route 10.40.0.0/26 was missing (3m12s ago)
   Problem: peer "node-d" has the VTEP MAC of "node-b"
Last error: none
`.slice(1),
  );
});

test('/status: not ready, never connected, nothing there yet', () => {
  const text = statusPage({
    ...nodeReport,
    node: { ...nodeReport.node, uid: undefined, vtepMac: undefined },
    notReady: ['no address block yet', 'bridge not made'],
    api: { isConnected: false, lastSyncAgeSeconds: undefined, source: 'snapshot' },
    network: { ...nodeReport.network, gateway: undefined },
    ipam: { ...nodeReport.ipam, ownBlocks: [] },
    peers: [],
    lastError: { text: 'Cannot claim block 10.40.0.0-26 (FORBIDDEN)', ageSeconds: 90_000 },
  });
  assert.match(text, /^ {6}Node: node-a \(uid not known yet\)$/m);
  assert.match(text, /^ {5}Ready: no: no address block yet; bridge not made$/m);
  assert.match(text, /^ {7}API: not connected, working from the snapshot; last heard never$/m);
  assert.match(text, /^ {5}Peers: 0$/m);
  assert.match(text, /^ {4}Blocks: none yet$/m);
  assert.match(text, /^Last error: Cannot claim block 10\.40\.0\.0-26 \(FORBIDDEN\) \(1d01h ago\)$/m);
});

test('/status/peers', () => {
  assert.equal(
    peersPage(nodeReport),
    `
NAME    UNDERLAY        VTEP MAC           BLOCKS  PATH MTU  VERSION
node-b  192.0.2.2:6784  0e:00:00:00:00:02  2       1450      0.1.0
node-c  192.0.2.3:6784  0e:00:00:00:00:03  1       1350      0.1.0
node-d  192.0.2.4:8472  0e:00:00:00:00:04  0       -         flannel
`.slice(1),
  );
});

test('/status/connections: those that need a look first', () => {
  assert.equal(
    connectionsPage(nodeReport),
    `
STATE        FOR    NAME    UNDERLAY        ROUND TRIP  LAST HEARD  SENT  RECEIVED
failed       45s    node-c  192.0.2.3:6784  0.104ms     48s ago     40    39
pending      5s     node-d  192.0.2.4:8472  -           never       0     0
established  2h00m  node-b  192.0.2.2:6784  0.083ms     1s ago      1200  1180
`.slice(1),
  );
});

test('/status/ipam', () => {
  assert.equal(
    ipamPage(nodeReport),
    `
    Range: 10.32.0.0/12: 16384 blocks of 64 addresses
     Held: 5 blocks (0.0%) by 3 nodes, 1 in quarantine
This node: 2 of 63 addresses used, 61 free

BLOCK          STATE   USED
10.40.0.0/26   held    1
10.40.0.64/26  fenced  1

NODE           BLOCKS  SHARE
node-a (this)  2       0.0%
node-b         2       0.0%
node-c         1       0.0%

ADDRESS     POD          INTERFACE  CONTAINER
10.40.0.2   default/web  eth0       0123456789abc
10.40.0.70  -            eth0       fedcba
`.slice(1),
  );
});

test('formatAge', () => {
  assert.deepEqual([0, 7.9, 60, 192, 3600, 18_240, 86_399, 183_600, -1].map(formatAge), [
    '0s',
    '7s',
    '1m00s',
    '3m12s',
    '1h00m',
    '5h04m',
    '23h59m',
    '2d03h',
    '0s',
  ]);
});
