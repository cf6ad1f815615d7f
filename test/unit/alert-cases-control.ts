// Cases of manifests/monitoring/alerts-control.ts.
import { type FiringCase, type QuietCase, labelsOf, on, where } from './alert-series.ts';

const blocks = (node: string, state: string): string => on(node, 'weft_ipam_range_blocks', { state });
const cni = (node: string, verb: string, outcome: string): string =>
  on(node, 'weft_cni_operations_total', { verb, outcome });
const bucket = (node: string, le: string): string =>
  on(node, 'weft_cni_operation_duration_seconds_bucket', { verb: 'ADD', le });
const repairs = (node: string, object: string): string => on(node, 'weft_repairs_total', { object });
const connected = (node: string): string => on(node, 'weft_api_connected');
const snapshotAge = (node: string): string => on(node, 'weft_snapshot_age_seconds');
const started = (node: string): string => on(node, 'process_start_time_seconds');

export const CONTROL_FIRING: readonly FiringCase[] = [
  {
    alert: 'WeftApiDisconnected',
    series: { [connected('node-1')]: '1x4 0x30', [connected('node-2')]: '1x40' },
    from: 5,
    labels: labelsOf('node-1'),
    summary: 'The agent of node node-1 has not reached the Kubernetes API for 10 minutes.',
  },
  {
    alert: 'WeftApiStale',
    series: {
      [connected('node-1')]: '1x40',
      [on('node-1', 'weft_api_last_sync_age_seconds')]: '30x4 30+60x40',
    },
    from: 20, // 930 s
    labels: labelsOf('node-1'),
    summary: 'The agent of node node-1 is connected to the Kubernetes API and has heard nothing for 20m 30s.',
  },
  {
    alert: 'WeftSnapshotOld', // older than the agent's run
    series: {
      [connected('node-1')]: '1x60',
      [snapshotAge('node-1')]: '86400+60x60',
      [started('node-1')]: '0x60',
    },
    from: 0,
    labels: labelsOf('node-1'),
    summary: 'The agent of node node-1 has not written its last-known state since it started.',
  },
  {
    alert: 'WeftSnapshotOld', // there is none
    series: { [connected('node-1')]: '0x4 1x60', [started('node-1')]: '0x60' },
    from: 5,
    labels: labelsOf('node-1'),
    summary: 'The agent of node node-1 has not written its last-known state since it started.',
  },
  {
    alert: 'WeftRangeExhausted',
    series: {
      [blocks('node-1', 'held')]: '16380x4 16384x40',
      [blocks('node-1', 'quarantined')]: '0x50',
      [blocks('node-1', 'free')]: '4x4 0x40',
    },
    from: 5,
    labels: {},
    summary: 'No block of the address range is left: nodes whose blocks are full cannot start pods.',
  },
  {
    alert: 'WeftRangeNearlyExhausted',
    series: {
      [blocks('node-1', 'held')]: '50x4 90x40',
      [blocks('node-1', 'quarantined')]: '0x4 5x40',
      [blocks('node-1', 'free')]: '50x4 5x40',
    },
    from: 5,
    labels: {},
    summary: 'Only 5% of the blocks of the address range are left.',
  },
  {
    alert: 'WeftBlockShortage',
    series: {
      [on('node-1', 'weave_ipam_pending_claims')]: '0x4 1x40',
      [on('node-2', 'weave_ipam_pending_claims')]: '0x50',
    },
    from: 5,
    labels: labelsOf('node-1'),
    summary: 'Node node-1 wants a block of addresses and cannot get one.',
  },
  {
    alert: 'WeftBlockFenced',
    series: {
      [on('node-1', 'weft_ipam_blocks', { state: 'fenced' })]: '0x4 2x40',
      [on('node-1', 'weft_ipam_blocks', { state: 'held' })]: '3x50',
    },
    from: 5,
    labels: where('node-1'),
    summary: '2 blocks of node node-1 are held by another node while pods have addresses of them.',
  },
  {
    alert: 'WeftAllocationLogUnwritable',
    series: { [on('node-1', 'weft_ipam_log_writable')]: '1x4 0x40' },
    from: 5,
    labels: labelsOf('node-1'),
    summary: 'Node node-1 cannot write its allocations: no pod gets an address there.',
  },
  {
    alert: 'WeftCniErrors',
    series: { [cni('node-1', 'ADD', '11')]: '0x20 0+2x60', [cni('node-1', 'ADD', 'ok')]: '0+1x80' },
    from: 24, // 6 within 15 minutes
    labels: { ...where('node-1'), verb: 'ADD' },
    summary: '16 requests of the container runtime (ADD) failed on node node-1 within 15 minutes.',
  },
  {
    alert: 'WeftCniSlow',
    series: {
      [bucket('node-1', '1')]: '0+10x20 200x60',
      [bucket('node-1', '2.5')]: '0+10x80',
      [bucket('node-1', '+Inf')]: '0+10x80',
    },
    from: 21,
    labels: where('node-1'),
    summary: 'Attaching a pod takes up to 2.485s on node node-1.',
  },
  {
    alert: 'WeftNetworkContested',
    series: { [repairs('node-1', 'route')]: '0x20 0+20x60', [repairs('node-1', 'bridge')]: '0x80' },
    from: 23,
    labels: where('node-1'),
    summary: 'Somebody undoes the network of node node-1 again and again: 200 repairs within 10 minutes.',
  },
];

export const CONTROL_QUIET: readonly QuietCase[] = [
  {
    alert: 'WeftApiDisconnected',
    when: 'the API server is upgraded for nine minutes',
    series: { [connected('a')]: '1x9 0x9 1x200' },
  },
  {
    alert: 'WeftApiStale',
    when: 'the API is away: that is told by the other alert',
    series: { [connected('a')]: '0x200', [on('a', 'weft_api_last_sync_age_seconds')]: '0+60x200' },
  },
  {
    alert: 'WeftSnapshotOld',
    when: 'nothing has changed in the cluster for hours, and a new one has not been written yet',
    series: {
      [connected('a')]: '1x200',
      [snapshotAge('a')]: '0+60x200',
      [started('a')]: '0x200',
      [connected('b')]: '0x4 1x200',
      [snapshotAge('b')]: '_x10 0+60x200',
      [started('b')]: '0x200',
    },
  },
  {
    alert: 'WeftRangeExhausted',
    when: 'some are left',
    series: {
      [blocks('a', 'held')]: '99x200',
      [blocks('a', 'quarantined')]: '0x200',
      [blocks('a', 'free')]: '1x200',
    },
  },
  {
    alert: 'WeftRangeNearlyExhausted',
    when: 'a fifth is left, or none: that is told by the other alert',
    series: {
      [blocks('a', 'held')]: '80x100 100x100',
      [blocks('a', 'quarantined')]: '0x200',
      [blocks('a', 'free')]: '20x100 0x100',
    },
  },
  {
    alert: 'WeftBlockShortage',
    when: 'a block is claimed at the second try',
    series: { [on('a', 'weave_ipam_pending_claims')]: '0x9 1x2 0x200' },
  },
  {
    alert: 'WeftBlockFenced',
    when: 'it is regained within minutes, and others are given back',
    series: {
      [on('a', 'weft_ipam_blocks', { state: 'fenced' })]: '0x9 1x9 0x200',
      [on('a', 'weft_ipam_blocks', { state: 'returning' })]: '1x200',
    },
  },
  {
    alert: 'WeftAllocationLogUnwritable',
    when: 'a write fails once',
    series: { [on('a', 'weft_ipam_log_writable')]: '1x9 0 1x200' },
  },
  {
    alert: 'WeftCniErrors',
    when: 'four pods are refused while the agent starts, and many succeed',
    series: { [cni('a', 'ADD', '11')]: '0x20 4x200', [cni('a', 'ADD', 'ok')]: '0+30x200' },
  },
  {
    alert: 'WeftCniSlow',
    when: 'nobody asks, or an answer takes some milliseconds',
    series: {
      [bucket('a', '1')]: '100x200',
      [bucket('a', '2.5')]: '200x200',
      [bucket('a', '+Inf')]: '200x200',
      [bucket('b', '0.005')]: '0+10x200',
      [bucket('b', '1')]: '0+10x200',
      [bucket('b', '+Inf')]: '0+10x200',
    },
  },
  {
    alert: 'WeftNetworkContested',
    when: 'somebody restarted the firewall, and leaks were tidied up',
    series: { [repairs('a', 'nftables')]: '0x20 60x200', [repairs('a', 'leaked_address')]: '0+20x200' },
  },
];
