// A node's report as text: the screen, the tables, the owner of an address.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { parseIpv4 } from '../../proto/address-text.ts';
import type { NodeReport, PeerStatus } from '../../proto/node-report.ts';
import { addressFacts, addressPage, allocationsOf } from '../../agent/report/address-owner.ts';
import { receivedReport } from '../../agent/report/received-report.ts';
import { type Screen, statusScreen } from '../../agent/report/status-screen.ts';
import { attachmentsTable, connectionsTable, ipamTables, peersTable } from '../../agent/report/tables.ts';
import { formatAge, formatShare, wrap } from '../../agent/report/text.ts';
import { faultsOf, formatFault } from '../../agent/report/verdict.ts';
import { ipamReport, nodeReport } from '../support/node-report.ts';
import { largeReport } from '../support/large-report.ts';

const wellPeers: readonly PeerStatus[] = nodeReport.peers.map((peer) => ({
  ...peer,
  state: 'established',
  probeLoss: 0,
  pathMtu: 1450,
  lastHeardSeconds: 1,
}));
const well: NodeReport = { ...nodeReport, peers: wellPeers, problems: [], recent: [] };

describe('statusScreen', () => {
  it('tells what is wrong first, then the node, then the peers that need a look', () => {
    assert.equal(
      statusScreen(nodeReport),
      `
node-a is not well: peer "node-d" has the VTEP MAC of "node-b" (and 1 more)
   Problem: peer "node-d" has the VTEP MAC of "node-b"
   Problem: 1 of 3 peers has stopped answering (node-c heard 48s ago): check that the node is up and that UDP 6784 is open both ways between the nodes
   Version: 0.1.0
      Node: node-a (6d3f1a52-9f5e-4d39-8d61-0a4e7a5b1c01)
  Underlay: 192.0.2.1 port 6784, VTEP MAC 0e:11:22:33:44:55
     Ready: yes
       API: connected; last heard 4s ago
     Peers: 3 (1 established, 1 pending, 1 failed)
     Range: 10.32.0.0/12, blocks of /26; bridge 10.40.0.1, MTU 1450, masquerade on
    Blocks: 10.40.0.0/26, 10.40.0.64/26 (fenced)
 Addresses: 2 used, 61 free; 2 attachments
Data plane: process 4711, up 1h01m, table 12; restarts: control 0, dataplane 2
     Drops: 25 (unknown_sender 12, pod_spoofed 8, truncated 3, …)
   Repairs: 3, last: route 10.40.0.0/26 was missing (3m12s ago)

PEER    STATE        FOR    RTT      LOSS  MTU   HEARD    UNDERLAY        BLOCKS
node-c  failed       45s    0.104ms  74%   1350  48s ago  192.0.2.3:6784  1
node-d  pending      5s     -        -     -     never    192.0.2.4:8472  0
node-b  established  2h00m  0.083ms  0%    1450  1s ago   192.0.2.2:6784  2

Last warnings and errors:
  45s ago: Peer "node-c" has stopped answering: check that the node is up and that UDP 6784 is open between the nodes
  1h05m ago, 12 times: error: Cannot claim block 10.40.0.64-26 (FORBIDDEN): apply the manifest again
`.slice(1),
    );
  });

  it('says well in the first line, and nothing of a problem', () => {
    const text = statusScreen(well);
    assert.match(text, /^node-a is well: pods can be attached, all 3 peers answer\n {3}Version: /);
    assert.doesNotMatch(text, /Problem|errors/);
    assert.match(
      statusScreen({ ...well, peers: [] }),
      /^node-a is well: pods can be attached, it has no peers\n/,
    );
    const one = wellPeers.slice(1, 2);
    assert.match(
      statusScreen({ ...well, peers: one }),
      /^node-a is well: pods can be attached, its peer answers\n/,
    );
  });

  it('is one screen of 80×24 for a node that is well, among three as among a thousand', () => {
    for (const report of [well, { ...largeReport({ peers: 1000, failed: 0 }), recent: [] }]) {
      const lines = statusScreen(report).split('\n').slice(0, -1);
      assert.ok(lines.length <= 24, `${lines.length} lines`);
      for (const line of lines.filter((each) => !/^ *(?:Blocks|Range):/.test(each))) {
        assert.ok(line.length <= 80, line);
      }
    }
  });

  it('shows the ten worst of many and sums the others up', () => {
    const text = statusScreen(largeReport({ peers: 1000, failed: 30 }));
    assert.match(text, /^node-0000 is not well: 30 of 1000 peers have stopped answering \(node-0001 heard /);
    assert.match(text, /, and 27 more\)$/m);
    assert.equal(text.match(/^node-\d+ +failed/gm)?.length, 10);
    assert.match(
      text,
      /^… and 970 established, 20 failed, RTT 0\.\d+ms to \d\.\d+ms: weft status connections$/m,
    );
  });

  it('folds lines where a terminal ends, and uses the room of a wide one', () => {
    const folded = statusScreen(nodeReport, { columns: 80, rows: 50 });
    for (const line of folded.split('\n')) assert.ok(line.length <= 80, line);
    assert.match(folded, /^ {3}Problem: 1 of 3 peers has [^\n]*\n {12}\S/m);
    const header = (screen: Screen): string => /^PEER.*$/m.exec(statusScreen(nodeReport, screen))?.[0] ?? '';
    assert.doesNotMatch(header({ columns: 60 }), /UNDERLAY/);
    assert.match(header({ columns: 200 }), /UNDERLAY +BLOCKS +VERSION +SENT +RECEIVED$/);
  });

  it('not ready, never connected, nothing there yet', () => {
    const text = statusScreen({
      ...well,
      node: { ...nodeReport.node, uid: undefined, vtepMac: undefined },
      notReady: ['no address block yet', 'bridge not made'],
      api: { isConnected: false, lastSyncAgeSeconds: undefined, source: 'snapshot' },
      network: { ...nodeReport.network, gateway: undefined },
      ipam: { ...nodeReport.ipam, ownBlocks: [] },
      peers: [],
    });
    assert.match(text, /^node-a is not well: pods cannot be attached: no address block yet \(and 2 more\)$/m);
    assert.match(text, /^ {6}Node: node-a \(uid not known yet\)$/m);
    assert.match(text, /^ {5}Ready: no: no address block yet; bridge not made$/m);
    assert.match(text, /^ {7}API: not connected, working from the snapshot; last heard never$/m);
    assert.match(text, /^ {5}Peers: 0$/m);
    assert.match(text, /^ {4}Blocks: none yet$/m);
  });

  it('shows nothing that moves the cursor, whoever says it', () => {
    const evil = 'a\u001B[2Jb\r\nc\u0007';
    const text = statusScreen({
      ...nodeReport,
      peers: nodeReport.peers.map((peer) => ({ ...peer, name: evil, version: evil })),
      problems: [evil],
      recent: nodeReport.recent.map((event) => ({ ...event, text: evil })),
    });
    assert.doesNotMatch(text, /[^\P{Cc}\n]/u);
    assert.equal(text.split('\n').length, statusScreen(nodeReport).split('\n').length);
    assert.doesNotMatch(
      peersTable({ ...nodeReport, peers: [{ ...nodeReport.peers[0]!, version: evil }] }),
      /[^\P{Cc}\n]/u,
    ); // !: there are three
  });

  it('of an agent that cannot start', () => {
    const report = {
      version: '0.1.0',
      node: { name: 'node-a' },
      notReady: ['Cannot use WEFT_PORT="x": write a number'],
    };
    assert.equal(
      statusScreen(report),
      'node-a is not well: the agent cannot start\nVersion: 0.1.0\n   Node: node-a\n  Ready: no: Cannot use WEFT_PORT="x": write a number\n',
    );
  });
});

describe('faultsOf', () => {
  it('has none for a node that is well', () => assert.deepEqual(faultsOf(well), []));
  const first = wellPeers[0]!; // !: there are three
  const withPeer = (peer: Partial<PeerStatus>): NodeReport => ({ ...well, peers: [{ ...first, ...peer }] });
  for (const [what, report, words] of [
    [
      'a peer that never answered',
      withPeer({ state: 'pending', sinceSeconds: 60 }),
      /^1 of 1 peer has never answered/,
    ],
    [
      'a path that loses',
      withPeer({ probeLoss: 0.23, sinceSeconds: 300 }),
      /lost probes \(node-d 23%\): look at the links/,
    ],
    [
      'a path that has lost, of a peer that answers again',
      withPeer({ probeLoss: 0.73, sinceSeconds: 12 }),
      /lost probes \(node-d 73% within a minute, established for 12s\)/,
    ],
    [
      'the API',
      { ...well, api: { ...well.api, isConnected: false } },
      /API is not connected, last heard 4s ago/,
    ],
    [
      'the allocation log',
      { ...well, ipam: { ...well.ipam, logFailure: 'Cannot write the log (ENOSPC)' } },
      /ENOSPC/,
    ],
    ['a problem', { ...well, problems: ['Cannot use it'] }, /^Cannot use it$/],
  ] as const) {
    it(`names ${what}`, () => {
      const faults = faultsOf(report);
      assert.equal(faults.length, 1);
      assert.match(faults.map(formatFault).join(), words);
    });
  }
  it('is patient with a peer that just came, and with a narrow path', () => {
    assert.deepEqual(faultsOf(withPeer({ state: 'pending', sinceSeconds: 5 })), []);
    assert.deepEqual(faultsOf(withPeer({ pathMtu: 1350 })), []);
  });
});

describe('tables', () => {
  it('peers by name', () => {
    assert.equal(
      peersTable(nodeReport),
      `
NAME    UNDERLAY        VTEP-MAC           BLOCKS  MTU   VERSION
node-b  192.0.2.2:6784  0e:00:00:00:00:02  2       1450  0.1.0
node-c  192.0.2.3:6784  0e:00:00:00:00:03  1       1350  0.1.0
node-d  192.0.2.4:8472  0e:00:00:00:00:04  0       -     flannel
`.slice(1),
    );
  });

  it('connections: those that need a look first', () => {
    assert.equal(
      connectionsTable(nodeReport),
      `
STATE        FOR    NAME    UNDERLAY        RTT      LOSS  MTU   HEARD    SENT  RECEIVED
failed       45s    node-c  192.0.2.3:6784  0.104ms  74%   1350  48s ago  40    39
pending      5s     node-d  192.0.2.4:8472  -        -     -     never    0     0
established  2h00m  node-b  192.0.2.2:6784  0.083ms  0%    1450  1s ago   1200  1180
`.slice(1),
    );
  });

  it('ipam', () => {
    assert.equal(
      ipamTables(nodeReport),
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

ADDRESS     POD          INTERFACE  CONTAINER      HOST-INTERFACE  AGE
10.40.0.2   default/web  eth0       0123456789abc  vethwe1d2e3f4   3h02m
10.40.0.70  -            eth0       fedcba         vethwe0a1b2c3   -
`.slice(1),
    );
  });

  it('attachments without heads', () => {
    assert.equal(
      attachmentsTable(nodeReport, { headers: false }),
      `
10.40.0.2   default/web  eth0  0123456789abc  vethwe1d2e3f4  3h02m
10.40.0.70  -            eth0  fedcba         vethwe0a1b2c3  -
`.slice(1),
    );
  });

  it('have one word for each column', () => {
    for (const text of [peersTable, connectionsTable, attachmentsTable].map((each) => each(nodeReport))) {
      for (const name of (text.split('\n')[0] ?? '').split(/ {2,}/)) assert.match(name, /^[A-Z-]+$/);
    }
  });
});

describe('the owner of an address', () => {
  const page = (address: string): string =>
    addressPage(addressFacts(parseIpv4(address), { report: nodeReport, ipam: ipamReport }), nodeReport);

  it('a pod of this node', () => {
    assert.equal(
      page('10.40.0.2'),
      `
  Address: 10.40.0.2
    State: used for 3h02m
      Pod: default/web
Container: 0123456789abcdef0123456789abcdef
Interface: eth0 in the pod, vethwe1d2e3f4 on the node
    Block: 10.40.0.0/26, held by this node, node-a, for 3d03h
`.slice(1),
    );
  });
  for (const [address, words] of [
    ['10.40.0.70', /State: used, since when is not known\n +Pod: the runtime did not say\n/],
    [
      '10.40.0.9',
      /State: free; a pod had it until 3m12s ago\n +Block: 10\.40\.0\.0\/26, held by this node, node-a, for/,
    ],
    ['10.40.0.10', /State: free; a pod had it until some time ago\n/],
    ['10.40.0.11', /State: free, no pod of this node had it yet\n/],
    ['10.40.0.1', /State: this node's bridge, the gateway of its pods\n/],
    ['10.40.0.65', /State: kept for the bridge, as the second address of each block\n/],
    [
      '10.44.0.7',
      /Block: 10\.44\.0\.0\/26, held by node-b for 2d03h\nAsk there: kubectl -n weft exec .*spec\.nodeName=node-b .* -- weft ipam 10\.44\.0\.7\n/,
    ],
    ['10.44.0.70', /Block: 10\.44\.0\.64\/26, held by node-c; its node has had no agent for 1m15s\n/],
    [
      '10.46.0.7',
      /Block: 10\.46\.0\.0\/26, freed 3m20s ago; nodes claim it again in 6m40s at the earliest\n/,
    ],
    ['10.46.0.70', /Block: 10\.46\.0\.64\/26, freed 1h06m ago; any node may claim it\n/],
    ['10.47.0.7', /State: free, no node holds its block\n +Block: 10\.47\.0\.0\/26\n/],
    ['10.32.0.0', /State: never given to a pod: the first or the last address of 10\.32\.0\.0\/12\n/],
    ['10.47.255.255', /State: never given to a pod/],
    ['192.0.2.1', /State: underlay address of this node, node-a; no pod has it\n/],
    ['192.0.2.2', /State: underlay address of node node-b; no pod has it\n/],
    [
      '10.96.0.10',
      /State: of a Service, by the cluster's range 10\.96\.0\.0\/12; no pod has it\n +Ask: kubectl get services /,
    ],
    ['8.8.8.8', /State: not Weft's: outside of the pods' range 10\.32\.0\.0\/12/],
  ] as const) {
    it(`${address}: ${words.source.slice(0, 40)}`, () => assert.match(page(address), words));
  }

  it('by pod or container', () => {
    const found = (query: string): readonly string[] =>
      allocationsOf(query, nodeReport).map(({ address }) => address);
    for (const query of ['default/web', 'web', '012345', '0123456789abcdef0123456789abcdef']) {
      assert.deepEqual(found(query), ['10.40.0.2'], query);
    }
    for (const query of ['we', 'other/web', '01234', '-', '']) assert.deepEqual(found(query), [], query);
  });
});

describe('receivedReport', () => {
  it('is what was sent', () => {
    assert.deepEqual(receivedReport(JSON.stringify(nodeReport)), JSON.parse(JSON.stringify(nodeReport)));
  });
  it('of an earlier release has nothing recent, and can be told', () => {
    const { recent: _recent, settings: _settings, ...earlier } = nodeReport;
    const report = receivedReport(JSON.stringify(earlier));
    assert.ok(report !== undefined && 'peers' in report);
    assert.match(statusScreen(report), /^node-a is not well/);
  });
  for (const text of ['', 'Only GET', '[]', 'null', '{"kind":"Status"}']) {
    it(`refuses ${JSON.stringify(text)}`, () => assert.equal(receivedReport(text), undefined));
  }
});

describe('text', () => {
  it('formatAge', () => {
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
  it('formatShare', () => {
    assert.deepEqual([undefined, 0, 0.004, 0.0333, 0.1, 0.745, 1].map(formatShare), [
      '-',
      '0%',
      '0.4%',
      '3.3%',
      '10%',
      '75%',
      '100%',
    ]);
  });
  it('wrap', () => {
    assert.deepEqual(wrap('one two three', 7), ['one two', 'three']);
    assert.deepEqual(wrap('unbreakable', 5), ['unbreakable']);
    assert.deepEqual(wrap('', 5), ['']);
  });
});
