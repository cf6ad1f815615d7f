// What happens to a cluster of three nodes in its ordinary life, as the series that its agents would show. No alert may fire in any of it.
import { type Series, on } from './alert-series.ts';

export interface Scenario {
  readonly name: string;
  readonly minutes: number;
  readonly series: Series;
}

/** A value for a minute; undefined: the series is not there. */
type Curve = (minute: number) => number | undefined;
type Curves = Record<string, Curve>;

const NODES = ['node-1', 'node-2', 'node-3'];
const BYTES = 1024 * 1024;
const steady =
  (value: number): Curve =>
  () =>
    value;
const growing =
  (aMinute: number): Curve =>
  (minute) =>
    aMinute * minute;

const notation = (curve: Curve, minutes: number): string =>
  Array.from({ length: minutes }, (_, minute) => curve(minute) ?? 'stale').join(' ');

/** Everything that the alerts look at, of a node that is well. */
function wellNode(node: string): Curves {
  const peers = NODES.filter((each) => each !== node);
  const curves: Curves = {};
  const add = (name: string, curve: Curve, labels: Readonly<Record<string, string>> = {}): void => {
    curves[on(node, name, labels)] = curve;
  };
  add('up', steady(1));
  add('weft_build_info', steady(1), { version: '0.1.0' });
  add('weft_ready', steady(1));
  for (const code of ['FORBIDDEN', 'PEERS_UNREACHABLE']) add('weft_trouble', steady(0), { code });
  add('weft_self_check_age_seconds', (minute) => (minute % 10) * 60);
  add('weft_cluster_problems', steady(0));
  add('weft_mtu_bytes', steady(1450));
  add('weft_snapshot_age_seconds', growing(60));
  add('process_start_time_seconds', steady(0));
  for (const role of ['control', 'dataplane']) {
    add('weft_role_up', steady(1), { role });
    add('weft_role_restarts_total', steady(0), { role });
    add('weft_role_memory_bytes', steady(40 * BYTES), { role, kind: 'pss' });
  }
  add('weft_event_loop_delay_seconds', steady(0.003), { statistic: 'p99' });
  add('weft_dataplane_passes_total', growing(900), { worker: '0' });
  add('weft_dataplane_longest_pause_seconds', steady(0.01), { worker: '0' });
  add('weft_dataplane_run_delay_seconds_total', growing(0.1), { worker: '0' });
  add('weft_tunnel_socket_dropped_packets_total', steady(0));
  for (const direction of ['egress', 'ingress'])
    add('weft_tun_dropped_packets_total', steady(0), { direction });
  for (const state of ['established', 'failed', 'pending']) {
    add('weave_connections', steady(state === 'established' ? peers.length : 0), { state });
  }
  for (const peer of peers) {
    add('weft_packets_total', growing(60_000), { direction: 'egress', peer });
    add('weft_peer_round_trip_seconds', steady(0.0003), { peer });
    add('weft_peer_probe_loss_ratio', steady(0), { peer });
    add('weft_peer_path_mtu_bytes', steady(1450), { peer });
  }
  // Pods ask for IPv6 when they start, and for addresses of pods that are gone.
  add('weft_dropped_packets_total', growing(3), { reason: 'pod_ipv6', peer: '' });
  add('weft_dropped_packets_total', growing(2), { reason: 'egress_no_owner', peer: '' });
  for (const reason of ['unknown_sender', 'vxlan_vni', 'inner_source_not_owned', 'pod_spoofed']) {
    add('weft_dropped_packets_total', steady(0), { reason, peer: '' });
  }
  add('weft_api_connected', steady(1));
  add('weft_api_last_sync_age_seconds', (minute) => (minute % 2) * 60);
  add('weft_ipam_blocks', steady(2), { state: 'held' });
  add('weft_ipam_blocks', steady(0), { state: 'fenced' });
  for (const [state, count] of Object.entries({ held: 6, quarantined: 0, free: 16_378 })) {
    add('weft_ipam_range_blocks', steady(count), { state });
  }
  add('weft_ipam_log_writable', steady(1));
  add('weave_ipam_pending_claims', steady(0));
  add('weft_cni_operations_total', growing(2), { verb: 'ADD', outcome: 'ok' });
  add('weft_cni_operations_total', steady(0), { verb: 'ADD', outcome: '11' });
  for (const le of ['0.01', '1', '+Inf']) {
    add('weft_cni_operation_duration_seconds_bucket', growing(2), { verb: 'ADD', le });
  }
  add('weft_repairs_total', steady(0), { object: 'nftables' });
  return curves;
}

const allWell = (): Curves => Object.assign({}, ...NODES.map(wellNode)) as Curves; // as: of Curves

const scenario = (name: string, minutes: number, curves: Curves): Scenario => ({
  name,
  minutes,
  series: Object.fromEntries(
    Object.entries(curves).map(([series, curve]) => [series, notation(curve, minutes)]),
  ),
});

/** Shows nothing of a node from one minute to another; its counters begin anew afterwards. */
function away(curves: Curves, node: string, [from, to]: readonly [number, number]): void {
  for (const [series, curve] of Object.entries(curves)) {
    if (!series.includes(`node="${node}"`)) continue;
    const isCounter = /_total|_bucket/.test(series);
    const isUp = series.startsWith('up{');
    curves[series] = (minute) => {
      if (minute < from) return curve(minute);
      if (minute < to) return isUp ? 0 : undefined;
      if (series.startsWith('process_start')) return to * 60;
      return curve(isCounter || series.startsWith('weft_snapshot') ? minute - to : minute);
    };
  }
}

/** The others notice it a moment later. */
function lost(curves: Curves, node: string, [from, to]: readonly [number, number]): void {
  const isLost = (minute: number): boolean => minute >= from && minute < to;
  for (const other of NODES.filter((each) => each !== node)) {
    const at = (name: string, labels: Readonly<Record<string, string>>): string => on(other, name, labels);
    curves[at('weave_connections', { state: 'established' })] = (minute) => (isLost(minute) ? 1 : 2);
    curves[at('weave_connections', { state: 'failed' })] = (minute) => (isLost(minute) ? 1 : 0);
    curves[at('weft_peer_silence_seconds', { peer: node })] = (minute) =>
      isLost(minute) ? (minute - from + 1) * 60 : undefined;
    // One of a few peers is more than a tenth of them.
    curves[at('weft_trouble', { code: 'PEERS_UNREACHABLE' })] = (minute) =>
      minute > from && minute < to ? 1 : 0;
    curves[at('weft_peer_probe_loss_ratio', { peer: node })] = (minute) =>
      isLost(minute) ? (minute === from ? 0.5 : 1) : minute === to ? 0.3 : 0;
  }
}

function rollingUpgrade(): Curves {
  const curves = allWell();
  for (const [at, node] of NODES.entries()) {
    const turn = 10 + 2 * at; // one node after the other: the new agent has the turn from here on
    for (const [series, curve] of Object.entries(curves)) {
      if (!series.includes(`node="${node}"`) || series.startsWith('up{')) continue;
      if (series.startsWith('weft_build_info')) {
        curves[series] = (minute) => (minute <= turn ? 1 : undefined);
        curves[series.replace('0.1.0', '0.2.0')] = (minute) => (minute >= turn ? 1 : undefined);
      } else if (series.startsWith('process_start')) {
        curves[series] = (minute) => (minute < turn ? 0 : turn * 60);
      } else if (/weft_role_restarts|weft_repairs|weft_cni/.test(series)) {
        curves[series] = (minute) => (minute < turn ? curve(minute) : (curve(minute - turn) ?? 0));
      } else if (series.startsWith('weft_ready')) {
        curves[series] = (minute) => (minute === turn ? 0 : 1);
      } else if (series.startsWith('weft_api_connected')) {
        curves[series] = (minute) => (minute === turn ? 0 : 1);
      } else if (series.startsWith('weft_snapshot')) {
        curves[series] = (minute) => (minute < turn ? minute * 60 : (minute - turn) * 60);
      } else {
        // Both pods are targets for a moment, and answered by one of the two agents.
        curves[series.replace('{', '{pod="weft-new",')] = (minute) =>
          minute === turn || minute === turn + 1 ? curve(minute) : undefined;
      }
    }
  }
  return curves;
}

function drainAndReboot(): Curves {
  const curves = allWell();
  away(curves, 'node-2', [20, 29]);
  lost(curves, 'node-2', [20, 29]);
  return curves;
}

function drainAndDelete(): Curves {
  const curves = allWell();
  for (const [series, curve] of Object.entries(curves)) {
    if (series.includes('node="node-2"'))
      curves[series] = (minute) => (minute < 25 ? curve(minute) : undefined);
  }
  lost(curves, 'node-2', [20, 25]); // switched off, then its Node is deleted
  for (const node of ['node-1', 'node-3']) {
    for (const [series, curve] of Object.entries(curves)) {
      if (!series.includes(`node="${node}"`)) continue;
      if (series.includes('peer="node-2"'))
        curves[series] = (minute) => (minute < 25 ? curve(minute) : undefined);
      if (series.includes('state="established"')) curves[series] = (minute) => (minute < 20 ? 2 : 1);
    }
  }
  return curves;
}

function apiUpgrade(): Curves {
  const curves = allWell();
  const isAway = (minute: number): boolean => minute >= 20 && minute < 28;
  for (const node of NODES) {
    curves[on(node, 'weft_api_connected')] = (minute) => (isAway(minute) ? 0 : 1);
    curves[on(node, 'weft_api_last_sync_age_seconds')] = (minute) =>
      isAway(minute) ? (minute - 19) * 60 : 0;
    curves[on(node, 'weft_cni_operations_total', { verb: 'ADD', outcome: '11' })] = (minute) =>
      minute < 22 ? 0 : 2;
  }
  return curves;
}

export const SCENARIOS: readonly Scenario[] = [
  scenario('a cluster that is well', 60, allWell()),
  scenario('a rolling upgrade', 60, rollingUpgrade()),
  scenario('a node is drained and rebooted, nine minutes', 60, drainAndReboot()),
  scenario('a node is drained, switched off and its Node deleted', 60, drainAndDelete()),
  scenario('the API server is upgraded, eight minutes', 60, apiUpgrade()),
];
