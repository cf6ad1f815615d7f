// What is deleted again and again is written again ever more slowly: the pace itself, this node's Peer, its blocks.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createBlockClaims } from '../../agent/control/blocks/block-claims.ts';
import { identityOf } from '../../agent/control/cluster/identity.ts';
import type { ClusterView } from '../../agent/control/cluster/cluster-view.ts';
import { createPeerPublication } from '../../agent/control/cluster/peer-publication.ts';
import { OperationError } from '../../agent/operation-error.ts';
import { RewritePace } from '../../agent/control/rewrite-pace.ts';
import { formatMac } from '../../proto/address.ts';
import { parseCidr } from '../../proto/address-text.ts';
import type { Peer } from '../../proto/api-kinds.ts';
import { SimulatedApi, SimulatedPool } from './claim-fakes.ts';
import { FakeClock, settle } from './kube-fakes.ts';

const MINUTE = 60_000;

test('RewritePace: at once, at once, then 1, 2, 4 … 30 s; what lasted a minute starts anew', () => {
  const pace = new RewritePace();
  const pauses: number[] = [];
  let now = 0;
  for (let write = 0; write < 9; write++) {
    const pause = pace.remaining(now);
    pauses.push(pause);
    now += pause;
    pace.wrote(now);
  }
  assert.deepEqual(pauses, [0, 0, 0, 1000, 2000, 4000, 8000, 16_000, 30_000]);
  now += 2 * MINUTE;
  assert.equal(pace.remaining(now), 0);
  pace.wrote(now);
  assert.equal(pace.remaining(now), 0);
});

function publicationRig(options: { watchShows: boolean; failure?: () => string | undefined }) {
  const clock = new FakeClock();
  const peers = new Map<string, Peer>();
  const levels: string[] = [];
  let version = 0;
  let writes = 0;
  const write = async (peer: Peer): Promise<Peer> => {
    await Promise.resolve();
    const code = options.failure?.();
    if (code !== undefined) throw new OperationError('refused', { code });
    writes += 1;
    const written = { ...peer, metadata: { ...peer.metadata, resourceVersion: String(++version) } };
    if (options.watchShows) peers.set('a', written);
    return written;
  };
  const line = (level: string) => (event: string) => void levels.push(`${level} ${event}`);
  const log = { trace: line('trace'), debug: line('debug'), info: line('info') };
  const publication = createPeerPublication({
    api: { createPeer: write, replacePeer: write, getPeer: () => Promise.reject(new Error('not asked')) },
    identity: () => identityOf('a', 'uid-a'),
    spec: {
      addresses: ['192.0.2.1'],
      port: 6784,
      features: [],
      version: '1',
      vtepMacText: ({ vtepMac }) => formatMac(vtepMac),
    },
    view: () => ({ source: 'api', peers }) as Partial<ClusterView> as ClusterView, // as: all that it looks at
    clock,
    random: () => 0.5,
    log: { ...log, warn: line('warn'), error: line('error'), child: () => assert.fail(), flush: () => {} },
    failed: () => undefined,
    done: () => undefined,
  });
  return { clock, peers, levels, publication, writes: () => writes };
}

test('PeerPublication: a Peer that somebody keeps deleting is not written in a tight loop, and says so', async () => {
  const { clock, peers, levels, publication, writes } = publicationRig({ watchShows: true });
  publication.changed();
  await settle();
  assert.deepEqual([writes(), levels], [1, ['info peer_published']]);
  for (let second = 0; second < 60; second++) {
    publication.changed();
    peers.delete('a');
    publication.changed();
    await clock.advance(1000);
  }
  assert.ok(writes() <= 9, `${writes()} writes in a minute`);
  assert.deepEqual(
    levels.filter((text) => text.startsWith('warn')),
    ['warn peer_published'],
    'once for as long as it lasts',
  );
  await clock.advance(2 * MINUTE);
  assert.ok(peers.has('a'), 'it is there once nobody deletes it');
  publication.stop();
  assert.equal(clock.pending, 0);
});

test('PeerPublication: deleted before the view ever showed it, the Peer is written again', async () => {
  const { clock, publication, writes } = publicationRig({ watchShows: false });
  publication.changed();
  await settle();
  publication.changed();
  await settle();
  assert.equal(writes(), 1, 'the watch is given time');
  await clock.advance(31_000);
  assert.equal(writes(), 2);
  publication.stop();
});

test('PeerPublication: a request that keeps failing is told once, another failure again, and the end', async () => {
  let code: string | undefined = 'UNAVAILABLE';
  const { clock, levels, publication } = publicationRig({ watchShows: true, failure: () => code });
  publication.changed();
  await clock.advance(5 * MINUTE);
  assert.deepEqual(levels, ['warn api_request_failed']);
  code = 'FORBIDDEN';
  await clock.advance(5 * MINUTE);
  code = undefined;
  await clock.advance(5 * MINUTE);
  assert.deepEqual(levels.slice(1), [
    'warn api_request_failed',
    'info peer_published',
    'info api_request_recovered',
  ]);
  publication.stop();
});

test('BlockClaims: a block that Kubernetes collects again and again is restored ever more slowly', async () => {
  const time = { now: 0 };
  const api = new SimulatedApi(() => time.now);
  const pool = new SimulatedPool();
  const claims = createBlockClaims({
    node: { name: 'a', uid: 'a-uid', stateId: 'a'.repeat(32) },
    range: parseCidr('10.32.0.0/12'),
    blockPrefixLength: 26,
    quarantineMs: 600_000,
    quietMs: 600_000,
    api,
    view: () => ({
      source: 'api',
      blocks: new Map(api.objects),
      peers: new Map(),
      freedBlocks: api.freed,
      abandonedBlocks: api.abandoned,
      nodesWithoutBlock: 0,
    }),
    pool,
    now: () => time.now,
    random: () => 0.5,
    log: { debug: () => undefined, info: () => undefined, warn: () => undefined },
    saved: () => Promise.resolve(true),
  });
  const settled = async (): Promise<number | undefined> => {
    for (;;) {
      const delay = await claims.step();
      if (delay !== 0) return delay;
    }
  };
  await settled();
  const held = [...api.objects.keys()];
  api.writes = [];
  for (let second = 0; second < 60; second++) {
    for (const name of held) api.remove(name);
    const delay = await settled();
    assert.ok(delay === undefined || delay > 0);
    time.now += 1000;
  }
  assert.ok(api.writes.length <= 9 * held.length, `${api.writes.length} writes in a minute`);
  const delay = await settled();
  assert.ok(delay !== undefined, 'it looks again by itself');
  time.now += MINUTE;
  await settled();
  assert.deepEqual([...api.objects.keys()].toSorted(), held.toSorted());
});
