// What the log tells of peers, allocations and CNI requests: one line for each that happened, with the name, the address and the interface.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { parseCidr, parseIpv4 } from '../../proto/address-text.ts';
import type { Peer } from '../../proto/api-kinds.ts';
import { createPeerLog } from '../../agent/control/cluster/peer-log.ts';
import type { CniOutcome } from '../../agent/control/cni/cni-server.ts';
import { createOutcomeLog } from '../../agent/control/cni/outcome-log.ts';
import { tellAllocations } from '../../agent/control/restore.ts';
import { type LogFields, createLogger } from '../../agent/telemetry/logger.ts';
import { block, peer } from './kube-fakes.ts';

type Line = LogFields & { readonly event: string; readonly msg: string; readonly level: string };

function listen(): { readonly log: ReturnType<typeof createLogger>; readonly take: () => readonly Line[] } {
  const lines: Line[] = [];
  const write = (line: string): void => void lines.push(JSON.parse(line) as Line); // as: the logger's own form
  const log = createLogger({ role: 'control', level: 'debug', format: 'json', write, clock: () => 0 });
  return { log, take: () => lines.splice(0) };
}

const words = (lines: readonly Line[]): readonly string[] =>
  lines.map(({ level, event, msg }) => `${level} ${event} ${msg}`);

const named = (...peers: readonly Peer[]): ReadonlyMap<string, Peer> =>
  new Map(peers.map((each) => [each.metadata.name, each]));

test('PeerLog: how many there are at the start, then each change once; nothing before the API is heard', () => {
  const { log, take } = listen();
  const peers = createPeerLog({ nodeName: 'self', known: undefined, log });
  const [self, a, b] = [peer('self'), peer('a'), peer('b', { addresses: ['192.0.2.2'] })];
  peers.tell({ source: 'snapshot', peers: named(a) });
  assert.deepEqual(take(), []);
  peers.tell({ source: 'api', peers: named(self, a) });
  assert.deepEqual(words(take()), ['info peers_listed Following 1 other node']);
  peers.tell({ source: 'api', peers: named(peer('self', { port: 1 }), a, b) });
  const joined = take();
  assert.deepEqual(words(joined), ['info peer_added Node "b" joined at 192.0.2.2']);
  assert.deepEqual([joined[0]?.['peer'], joined[0]?.['address']], ['b', '192.0.2.2']);
  const moved = peer('b', { addresses: ['192.0.2.3'], version: 'another' });
  peers.tell({ source: 'api', peers: named(a, moved) });
  peers.tell({ source: 'api', peers: named(a, peer('b', { ...moved.spec, version: 'yet another' })) });
  const [changed, ...more] = take();
  assert.match(changed?.msg ?? '', /^Node "b" changed from 192\.0\.2\.2 port .* to 192\.0\.2\.3 port /);
  assert.deepEqual([changed?.event, changed?.['address_before'], more], ['peer_changed', '192.0.2.2', []]);
  peers.tell({ source: 'api', peers: named(a) });
  assert.deepEqual(words(take()), ['info peer_removed Node "b" at 192.0.2.3 left']);
});

test('PeerLog: what changed while there was no agent is told against the snapshot', () => {
  const { log, take } = listen();
  const [a, gone, young] = [peer('a'), peer('gone'), peer('young')];
  const peers = createPeerLog({ nodeName: 'self', known: [a, gone], log });
  peers.tell({ source: 'api', peers: named(peer('a'), young) });
  assert.deepEqual(
    take().map(({ event, peer: name }) => [event, name]),
    [
      ['peers_listed', undefined],
      ['peer_added', 'young'],
      ['peer_removed', 'gone'],
    ],
  );
});

test('tellAllocations: one line with the blocks of this node, by the snapshot and by the log', () => {
  const { log, take } = listen();
  const settings = { nodeName: 'self', range: parseCidr('10.32.0.0/12'), blockPrefixLength: 26 };
  const empty = { list: () => [] };
  tellAllocations({ settings, stateId: 'a'.repeat(32), pool: empty, snapshot: undefined, log });
  assert.deepEqual(take(), []);
  const own = block('10.32.0.0/26', 'self');
  const snapshot = {
    nodeName: 'self',
    nodeUid: own.spec.nodeUid,
    range: '10.32.0.0/12',
    blockPrefixLength: 26,
    vni: 1,
    resourceVersions: {},
    peers: [],
    blocks: [own, block('10.32.0.64/26', 'other')],
    slots: {},
    freedBlocks: {},
  };
  tellAllocations({ settings, stateId: 'a'.repeat(32), pool: empty, snapshot, log });
  assert.deepEqual(words(take()), ['info allocations_loaded 0 allocations in block 10.32.0.0-26']);
  const allocation = {
    containerId: 'c1',
    interfaceName: 'eth0',
    hostInterface: 'vethwe0',
    netnsInode: 1,
    sequence: 1,
    address: parseIpv4('10.32.1.2'),
  };
  tellAllocations({ settings, stateId: 'a'.repeat(32), pool: { list: () => [allocation] }, snapshot, log });
  const [line] = take();
  assert.equal(line?.msg, '1 allocation in blocks 10.32.0.0-26, 10.32.1.0-26');
  assert.deepEqual([line['count'], line['blocks']], [1, '10.32.0.0-26 10.32.1.0-26']);
});

test('OutcomeLog: ADD and DEL at debug with pod, address, interface and duration; a repeated DEL had nothing to do', () => {
  const { log, take } = listen();
  const request = { containerId: 'c1', interfaceName: 'eth0' };
  const attachment = { address: parseIpv4('10.32.0.2'), hostInterface: 'vethwe012345678' };
  let nowMs = 0;
  const outcomes = createOutcomeLog(log, () => nowMs);
  const tell = (outcome: CniOutcome): Line | undefined => {
    outcomes.tell(outcome, 0.0042);
    return take()[0];
  };
  const added = tell({ command: 'ADD', ...request, podName: 'default/web-0', attachment });
  assert.deepEqual(added, {
    level: 'debug',
    time: '1970-01-01T00:00:00.000Z',
    role: 'control',
    event: 'pod_attached',
    command: 'ADD',
    container: 'c1',
    interface: 'eth0',
    pod: 'default/web-0',
    address: '10.32.0.2',
    host_interface: 'vethwe012345678',
    duration_ms: 4,
    msg: 'Attached default/web-0: 10.32.0.2 on vethwe012345678 in 4 ms',
  });
  const removed = tell({ command: 'DEL', ...request, podName: 'default/web-0', attachment });
  assert.equal(removed?.msg, 'Detached default/web-0: 10.32.0.2 on vethwe012345678 in 4 ms');
  assert.equal(removed['pod'], 'default/web-0');
  const repeated = tell({ command: 'DEL', ...request });
  assert.equal(
    `${repeated?.level} ${repeated?.event} ${repeated?.msg}`,
    'debug detach_repeated Nothing to detach for c1',
  );
  const failed = tell({ command: 'DEL', ...request, error: { code: 5, msg: 'Cannot' } });
  assert.equal(
    `${failed?.level} ${failed?.event} ${failed?.msg}`,
    'warn cni_failed DEL failed: Cannot. The runtime tries again; if it goes on, look what `weft doctor` finds on this node',
  );
  const again = tell({ command: 'DEL', ...request, containerId: 'c2', error: { code: 5, msg: 'Cannot' } });
  assert.equal(`${again?.level} ${again?.['container']}`, 'debug c2', 'the same failure of another pod');
  const other = tell({ command: 'DEL', ...request, error: { code: 5, msg: 'May not' } });
  assert.equal(other?.level, 'warn', 'another failure');
  nowMs += 600_000;
  const later = tell({ command: 'DEL', ...request, error: { code: 5, msg: 'Cannot' } });
  assert.deepEqual([later?.level, later?.['repeated'], later?.['cni_code']], ['warn', 2, 5]);
  const status = tell({ command: 'STATUS', ...request, error: { code: 50, msg: 'Not now' } });
  assert.equal(status?.level, 'debug', 'a runtime asks every few seconds');
});
