import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';

import { OTHER, createBusiestPeers } from '../../agent/telemetry/busiest-peers.ts';
import { refusalTotals } from '../../agent/telemetry/refusal-totals.ts';
import {
  connectionState,
  createConnectionTracker,
  peerRow,
  statsSnapshot,
} from '../../agent/telemetry/stats-reader.ts';
import {
  HISTOGRAMS,
  NO_PEER_ROW,
  counterColumn,
  dropColumn,
  gaugeColumn,
  histogramIndex,
  statsIndex,
} from '../../proto/dataplane-stats.ts';
import { FIREWALL_REASONS, type FirewallReason, REFUSAL_REASONS } from '../../proto/drop-reason.ts';
import { complaints, parseFamilies } from '../support/exposition.ts';
import { INTERVAL_MS, createMetricsRig, fillMetrics } from '../support/metrics-source.ts';
import { randomInt, seededRandom, testSeed } from '../support/random.ts';

test('connection tracker: tells of a peer that answers at the first look, and of changes', () => {
  const values = new Float64Array(statsIndex(peerRow(3) + 1, 0));
  const hear = (slot: number, atMs: number): void => {
    values[statsIndex(peerRow(slot), gaugeColumn('last_probe_answer_ms'))] = atMs;
  };
  const told: string[] = [];
  const tracker = createConnectionTracker({
    probeIntervalMs: INTERVAL_MS,
    changed: ({ name, state }, before) => told.push(`${name} ${before} ${state}`),
  });
  const names = ['answers', 'silent', 'was-away', 'kernel'];
  const peers = names.map((name, slot) => ({ name, slot, probes: name !== 'kernel' }));
  const look = (nowMs: number): readonly string[] => {
    tracker.observe(peers, statsSnapshot([values]), nowMs);
    return told.splice(0);
  };
  hear(0, 100_000);
  hear(2, 1000);
  assert.deepEqual(look(100_000), ['answers pending established']);
  assert.deepEqual(look(100_100), []);
  hear(1, 100_500);
  hear(2, 100_500);
  assert.deepEqual(look(100_500), ['silent pending established', 'was-away failed established']);
  assert.deepEqual(look(103_200), ['answers established failed']);
  assert.equal(tracker.terminations(), 1);
});

test('metrics: promtool finds nothing to say', async (t) => {
  const rig = createMetricsRig(60);
  fillMetrics(rig);
  const text = await rig.metrics.render();
  assert.ok(!text.includes('weave_flows'));
  assert.deepEqual(parseFamilies(text).flatMap(complaints), []);
  const checked = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' });
  if (checked.error !== undefined)
    return t.skip('promtool is not installed; its rules for names were checked');
  assert.equal(checked.stdout + checked.stderr, '');
  assert.equal(checked.status, 0);
});

test('complaints: says what promtool says of names', () => {
  const family = { type: 'gauge', help: 'x', labels: [], series: 1 };
  const wrong = [
    { ...family, name: 'weft_packets', type: 'counter' },
    { ...family, name: 'weft_packets_total' },
    { ...family, name: 'weft_age_milliseconds' },
    { ...family, name: 'weft_age_ms' },
    { ...family, name: 'weft_gauge' },
    { ...family, name: 'weft_peers_count' },
    { ...family, name: 'weftPeers' },
    { ...family, name: 'weft_peers', labels: ['le'] },
    { ...family, name: 'weft_peers', help: '' },
  ];
  for (const one of wrong) assert.equal(complaints(one).length, 1, one.name);
  assert.deepEqual(complaints({ ...family, name: 'weft_age_seconds' }), []);
});

test('metrics: a histogram of the statistics is cumulative, in seconds, and adds up the workers', async () => {
  const { values, scrape } = createMetricsRig(1);
  const first = histogramIndex('probe_round_trip_us');
  values[first] = 4; // up to 50 us
  values[first + 2] = 1; // up to 200 us
  values[first + HISTOGRAMS.probe_round_trip_us.length] = 2; // above all bounds
  values[first + HISTOGRAMS.probe_round_trip_us.length + 1] = 3_000_000;
  const found = await scrape();
  const bucket = (le: string): number | undefined =>
    found.get(`weft_probe_round_trip_seconds_bucket{le="${le}"}`);
  assert.deepEqual(['0.00005', '0.0001', '0.0002', '0.5', '+Inf'].map(bucket), [4, 4, 5, 5, 7]);
  assert.equal(found.get('weft_probe_round_trip_seconds_sum'), 3);
  assert.equal(found.get('weft_probe_round_trip_seconds_count'), 7);
});

test('metrics: label values are escaped', async () => {
  const { metrics, peers } = createMetricsRig(1);
  peers.splice(0, 1, { name: 'a"b\\c\nd', slot: 0, probes: true });
  assert.ok((await metrics.render()).includes('peer="a\\"b\\\\c\\nd"'));
});

test('metrics: each code of what a person has to put right is there, also at 0', async () => {
  const found = await createMetricsRig(1).scrape();
  assert.equal(found.get('weft_trouble{code="FORBIDDEN"}'), 1);
  assert.equal(found.get('weft_trouble{code="RANGE_OVERLAP"}'), 0);
  assert.equal(found.get('weft_trouble{code="other"}'), 0);
});

test('metrics: each method of a request to the API is there, also before the first', async () => {
  const found = await createMetricsRig(1).scrape();
  for (const verb of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']) {
    assert.equal(found.get(`weft_api_request_duration_seconds_count{verb="${verb}"}`), 0, verb);
  }
});

test('metrics: the data plane is up while one of its workers is', async () => {
  const { facts, scrape } = createMetricsRig(1);
  const up = async (...workers: readonly number[]): Promise<number | undefined> => {
    facts.workers = workers;
    return (await scrape()).get('weft_role_up{role="dataplane"}');
  };
  assert.deepEqual([await up(8, 9), await up(8, 0), await up(0, 0)], [1, 1, 0]);
});

test('metrics: of the silence of peers those that have failed, the longest first', async () => {
  const { set, time, scrape } = createMetricsRig(60);
  for (let slot = 0; slot < 58; slot++) {
    set(peerRow(slot), gaugeColumn('last_probe_answer_ms'), time.now - 10_000 - slot);
  }
  set(peerRow(58), gaugeColumn('last_probe_answer_ms'), time.now);
  const silences = [...(await scrape())].filter(([name]) => name.startsWith('weft_peer_silence_seconds'));
  assert.equal(silences.length, 50);
  assert.deepEqual(silences[0], ['weft_peer_silence_seconds{peer="node-57"}', 10.057]);
});

test('metrics: a peer that was never heard is silent since it failed, not since the node started', async () => {
  const { set, time, scrape } = createMetricsRig(1);
  time.now = 30 * 86_400_000;
  set(peerRow(0), gaugeColumn('first_unanswered_probe_ms'), time.now - 1000);
  const silence = async (): Promise<number | undefined> =>
    (await scrape()).get('weft_peer_silence_seconds{peer="node-0"}');
  assert.equal(await silence(), undefined, 'it is new');
  time.now += 10_000;
  assert.equal(await silence(), 0);
  time.now += 60_000;
  assert.equal(await silence(), 60);
});

test("metrics: Weave's names with Weave's meaning", async () => {
  const { set, peers, time, scrape } = createMetricsRig(3);
  set(peerRow(0), gaugeColumn('last_probe_answer_ms'), time.now - 100);
  set(peerRow(1), gaugeColumn('last_ingress_ms'), time.now - 3001);
  const first = await scrape();
  const state = (name: string): string => `weave_connections{state="${name}",type="vxlan",encryption=""}`;
  assert.deepEqual(
    ['established', 'pending', 'retrying', 'failed', 'connecting'].map((name) => first.get(state(name))),
    [1, 1, 0, 1, 0],
  );
  assert.equal(first.get('weave_ips{state="local-used"}'), 4);
  assert.equal(first.get('weave_max_ips'), 1_048_576);
  assert.equal(first.get('weave_ipam_unreachable_count'), 128);
  assert.equal(first.get('weave_ipam_unreachable_percentage'), (100 * 128) / 2 ** 20);
  assert.equal(first.get('weave_ipam_pending_allocates'), 1);
  assert.equal(first.get('weave_ipam_pending_claims'), 0);
  assert.equal(first.get('weave_connection_terminations_total'), 0, 'it was down when we came');
  assert.equal(first.get('weft_snapshot_age_seconds'), undefined);

  time.now += 10_000;
  assert.equal((await scrape()).get('weave_connection_terminations_total'), 1);
  peers.splice(0, 1);
  assert.equal((await scrape()).get('weave_connection_terminations_total'), 1, 'a node that left is none');
});

test('metrics: drops of no peer are there at 0, those of peers when there are any', async () => {
  const { set, scrape } = createMetricsRig(2);
  set(NO_PEER_ROW, dropColumn('unknown_sender'), 7);
  set(peerRow(1), dropColumn('vxlan_vni'), 2);
  const values = await scrape();
  assert.equal(values.get('weft_dropped_packets_total{reason="unknown_sender",peer=""}'), 7);
  assert.equal(values.get('weft_dropped_packets_total{reason="truncated",peer=""}'), 0);
  assert.equal(values.get('weft_dropped_packets_total{reason="vxlan_vni",peer="node-1"}'), 2);
  assert.equal(values.get('weft_dropped_packets_total{reason="vxlan_vni",peer="node-0"}'), undefined);
});

test('metrics: what nftables refused is added to what the data plane refused; no count falls while it cannot be read', async () => {
  const { set, firewall, scrape } = createMetricsRig(1);
  const dropped = async (): Promise<readonly (number | undefined)[]> => {
    const found = await scrape();
    return ['truncated', 'unknown_sender', 'pod_spoofed'].map((reason) =>
      found.get(`weft_dropped_packets_total{reason="${reason}",peer=""}`),
    );
  };
  set(NO_PEER_ROW, dropColumn('unknown_sender'), 7);
  firewall.set('unknown_sender', 30).set('pod_spoofed', 0);
  assert.deepEqual(await dropped(), [0, 37, 0]);
  firewall.clear();
  assert.deepEqual(await dropped(), [0, undefined, undefined]);
  firewall.set('unknown_sender', 31).set('pod_spoofed', 2);
  assert.deepEqual(await dropped(), [0, 38, 2]);
});

test('refusalTotals: every reason, over the rows asked for, also without statistics', () => {
  const values = new Float64Array(statsIndex(4, 0));
  values[statsIndex(NO_PEER_ROW, dropColumn('unknown_sender'))] = 1;
  values[statsIndex(2, dropColumn('vxlan_vni'))] = 10;
  values[statsIndex(3, dropColumn('vxlan_vni'))] = 100;
  const firewall = new Map<FirewallReason, number>(FIREWALL_REASONS.map((reason) => [reason, 0]));
  firewall.set('pod_ipv6', 1000);
  const totals = refusalTotals({ stats: statsSnapshot([values]), rows: [NO_PEER_ROW, 3], firewall });
  assert.deepEqual([...totals.keys()], REFUSAL_REASONS);
  assert.deepEqual(Object.fromEntries([...totals].filter(([, count]) => count > 0)), {
    unknown_sender: 1,
    vxlan_vni: 100,
    pod_ipv6: 1000,
  });
  assert.equal(refusalTotals({ stats: undefined, rows: [0], firewall }).get('pod_ipv6'), 1000);
});

test('metrics: at most 50 peers have series of their own', async () => {
  const { set, scrape } = createMetricsRig(200);
  for (let slot = 0; slot < 200; slot++) set(peerRow(slot), counterColumn('egress_bytes'), 1000 + slot);
  await scrape();
  set(peerRow(3), counterColumn('egress_bytes'), 1003 + 5);
  const values = await scrape();
  const series = [...values.keys()].filter((key) => key.startsWith('weft_bytes_total{direction="egress"'));
  assert.equal(series.length, 51);
  assert.equal(values.get('weft_bytes_total{direction="egress",peer="node-199"}'), 1199);
  assert.equal(values.get('weft_bytes_total{direction="egress",peer="other"}'), 5);
});

test('metrics: the MTU of paths, the smallest first where there are more than 50', async () => {
  const { set, scrape } = createMetricsRig(60);
  for (let slot = 0; slot < 59; slot++) {
    set(peerRow(slot), gaugeColumn('path_mtu'), slot === 7 ? 1350 : 1450);
    set(peerRow(slot), counterColumn('egress_bytes'), slot);
  }
  const series = [...(await scrape())].filter(([name]) => name.startsWith('weft_peer_path_mtu_bytes'));
  assert.equal(series.length, 50);
  assert.deepEqual(new Set(series.map(([, value]) => value)), new Set([1350, 1450]));
  const shown = new Map(series);
  assert.equal(shown.get('weft_peer_path_mtu_bytes{peer="node-7"}'), 1350);
  assert.equal(shown.get('weft_peer_path_mtu_bytes{peer="node-58"}'), 1450);
});

test('createBusiestPeers: no series ever goes down, however peers come, go and overtake each other', (t) => {
  const seed = testSeed();
  t.diagnostic(`seed ${seed}`);
  const random = seededRandom(seed);
  const busiest = createBusiestPeers(5, 1);
  const counters = new Map<string, number>();
  let peers = Array.from({ length: 12 }, (_, slot) => ({ name: `n${slot}`, slot }));
  let before = new Map<string, number>();
  for (let step = 0; step < 2000; step++) {
    for (const { name } of peers) {
      if (random() < 0.5) counters.set(name, (counters.get(name) ?? 0) + randomInt(random, 1000));
    }
    if (random() < 0.02) peers = peers.filter(() => random() < 0.9);
    const { named, other } = busiest.split(peers, (slot, cells) => {
      cells.values[cells.at] = counters.get(`n${slot}`) ?? 0;
    });
    assert.ok(named.length <= 5);
    const now = new Map(named.map(([name, [value = 0]]) => [name, value]));
    if (other !== undefined) now.set(OTHER, other[0] ?? 0);
    for (const [name, value] of now) assert.ok(value >= (before.get(name) ?? 0), `${name} went down`);
    before = now;
  }
});

test('connectionState: established, pending, failed', () => {
  const values = new Float64Array(statsIndex(peerRow(0) + 1, 0));
  const stateAt = (nowMs: number, probes = true, probedPeers = 40): string =>
    connectionState(statsSnapshot([values]), {
      slot: 0,
      probes,
      nowMs,
      probeIntervalMs: INTERVAL_MS,
      probedPeers,
    });
  assert.equal(stateAt(10_000), 'pending');
  values[statsIndex(peerRow(0), gaugeColumn('last_probe_answer_ms'))] = 10_000;
  assert.equal(stateAt(13_000), 'established');
  assert.equal(stateAt(13_001), 'failed');
  values[statsIndex(peerRow(0), gaugeColumn('last_ingress_ms'))] = 12_000;
  assert.equal(stateAt(13_001), 'established');
  assert.equal(stateAt(99_999, false), 'established', 'a peer without probes');
  assert.equal(stateAt(36_000, true, 1000), 'established', 'one of many is asked in turn');
  assert.equal(stateAt(39_001, true, 1000), 'failed');
  values[statsIndex(peerRow(0), gaugeColumn('first_unanswered_probe_ms'))] = 20_000;
  assert.equal(stateAt(23_000, true, 1000), 'established');
  assert.equal(stateAt(23_001, true, 1000), 'failed', 'asked, and it does not answer');
});
