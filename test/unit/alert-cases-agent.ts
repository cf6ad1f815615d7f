// Cases of manifests/monitoring/alerts-agent.ts.
import { type FiringCase, type QuietCase, labelsOf, named, on, twice, where } from './alert-series.ts';

const TEN = Array.from({ length: 10 }, (_, at) => `node-${at}`);
const POD = { namespace: 'weft', created_by_kind: 'DaemonSet', created_by_name: 'weft' };
const podInfo = (node: string): string =>
  named('kube_pod_info', {
    ...POD,
    job: 'kube-state-metrics',
    instance: '10.32.0.9:8080',
    node,
    pod: `weft-${node}`,
  });
const MiB = 1024 * 1024;

export const AGENT_FIRING: readonly FiringCase[] = [
  {
    alert: 'WeftNoAgents',
    series: { [on('node-1', 'up')]: '1x4 0x30', [on('node-2', 'up')]: '1x4 stale' },
    from: 5,
    labels: {},
    summary: 'No agent of Weft answers Prometheus.',
  },
  {
    alert: 'WeftManyAgentsDown',
    series: Object.fromEntries(TEN.map((node, at) => [on(node, 'up'), at < 3 ? '1x4 0x30' : '1x40'])),
    from: 5,
    labels: {},
    summary: '3 agents do not answer Prometheus.',
  },
  {
    alert: 'WeftAgentDown',
    series: { [on('node-1', 'up')]: '1x4 0x30', [on('node-2', 'up')]: '1x40' },
    from: 5,
    labels: labelsOf('node-1'),
    summary: 'The agent of node node-1 has not answered Prometheus for 10 minutes.',
  },
  {
    alert: 'WeftAgentDown', // of Weave's job, whose scrape names no node
    series: { 'up{job="weave-net",instance="10.0.0.7:6782"}': '1x4 0x30' },
    from: 5,
    labels: { job: 'weave-net', instance: '10.0.0.7:6782' },
    summary: 'The agent of node 10.0.0.7:6782 has not answered Prometheus for 10 minutes.',
  },
  {
    alert: 'WeftAgentNotScraped',
    series: { [podInfo('node-1')]: '1x40', [podInfo('node-2')]: '_x5 1x40', [on('node-1', 'up')]: '1x40' },
    from: 5,
    labels: { node: 'node-2', pod: 'weft-node-2' },
    summary: 'Prometheus does not scrape the agent of node node-2 (pod weft-node-2).',
  },
  {
    alert: 'WeftAgentNotReady',
    series: { [on('node-1', 'weft_ready')]: '1x4 0x30', [on('node-2', 'weft_ready')]: '1x40' },
    from: 5,
    labels: labelsOf('node-1'),
    summary: 'No pod can be attached on node node-1: its agent is not ready.',
  },
  {
    alert: 'WeftFaultFound',
    series: {
      [on('node-1', 'weft_faults', { check: 'foreign_rules', severity: 'error' })]: '0x4 2x60',
      [on('node-1', 'weft_faults', { check: 'leftovers', severity: 'warning' })]: '1x70',
    },
    from: 5,
    labels: labelsOf('node-1', { check: 'foreign_rules' }),
    summary: 'The agent of node node-1 finds a fault on its node: foreign_rules.',
  },
  {
    alert: 'WeftSelfCheckStale',
    series: {
      [on('node-1', 'weft_self_check_age_seconds')]: '0 60+60x80',
      [on('node-2', 'weft_self_check_age_seconds')]: '60x90',
    },
    from: 61,
    labels: labelsOf('node-1'),
    summary: 'The agent of node node-1 has not been able to look its node over for 1h 6m 0s.',
  },
  {
    alert: 'WeftTrouble',
    series: {
      [on('node-1', 'weft_trouble', { code: 'RANGE_OVERLAP' })]: '0x4 1x30',
      [on('node-1', 'weft_trouble', { code: 'TUN_MISSING' })]: '0x40',
    },
    from: 5,
    labels: labelsOf('node-1', { code: 'RANGE_OVERLAP' }),
    summary: 'The agent of node node-1 has trouble that a person has to put right: RANGE_OVERLAP.',
  },
  {
    alert: 'WeftClusterProblems',
    series: {
      [on('node-1', 'weft_cluster_problems')]: '0x4 2x30',
      [on('node-2', 'weft_cluster_problems')]: '0x4 2x30',
    },
    from: 5,
    labels: {},
    summary: 'The objects of the cluster contradict each other in 2 places.',
  },
  {
    alert: 'WeftDataplaneDown',
    series: {
      [on('node-1', 'weft_role_up', { role: 'dataplane' })]: '1x4 0x30',
      [on('node-1', 'weft_role_up', { role: 'control' })]: '1x40',
    },
    from: 5,
    labels: labelsOf('node-1', { role: 'dataplane' }),
    summary: 'The data plane of node node-1 does not run: its pods are cut off from the other nodes.',
  },
  {
    alert: 'WeftDataplaneStuck',
    series: {
      [on('node-1', 'weft_dataplane_passes_total', { worker: '0' })]: '0+600x30',
      [on('node-1', 'weft_dataplane_passes_total', { worker: '1' })]: '0+600x5 3000x30',
    },
    from: 7, // its last pass was in minute 5
    labels: labelsOf('node-1', { worker: '1' }),
    summary: 'Worker 1 of the data plane of node node-1 has stood still for minutes.',
  },
  {
    alert: 'WeftDataplaneRestarting',
    series: { [on('node-1', 'weft_role_restarts_total', { role: 'dataplane' })]: '0x16 1x5 2x30' },
    from: 23,
    labels: labelsOf('node-1', { role: 'dataplane' }),
    summary: 'The data plane of node node-1 was started again 2 times within 15 minutes.',
  },
  {
    alert: 'WeftControlRestarting',
    series: { [on('node-1', 'weft_role_restarts_total', { role: 'control' })]: '0x16 1 2 3x30' },
    from: 19,
    labels: labelsOf('node-1', { role: 'control' }),
    summary: 'Control of node node-1 was started again 3 times within 15 minutes.',
  },
  {
    alert: 'WeftDataplanePauses',
    series: {
      [on('node-1', 'weft_dataplane_longest_pause_seconds', { worker: '0' })]: '0.001x4 2.5x30',
      [on('node-1', 'weft_dataplane_longest_pause_seconds', { worker: '1' })]: '0.001x40',
    },
    from: 5,
    labels: where('node-1'),
    summary: 'The data plane of node node-1 leaves packets waiting for up to 2.5s.',
  },
  {
    alert: 'WeftDataplaneStarved',
    series: {
      [on('node-1', 'weft_dataplane_run_delay_seconds_total', { worker: '0' })]: '0x9 0+30x40',
      [on('node-1', 'weft_dataplane_run_delay_seconds_total', { worker: '1' })]: '0+1x50',
    },
    from: 13,
    labels: where('node-1'),
    summary: 'The data plane of node node-1 waits for a processor 50% of the time.',
  },
  {
    alert: 'WeftEventLoopDelay',
    series: {
      [on('node-1', 'weft_event_loop_delay_seconds', { statistic: 'p99' })]: '0.002x4 1.5x30',
      [on('node-1', 'weft_event_loop_delay_seconds', { statistic: 'median' })]: '0.002x40',
    },
    from: 5,
    labels: labelsOf('node-1', { statistic: 'p99' }),
    summary: 'Control of node node-1 is held up by 1.5s at a time.',
  },
  {
    alert: 'WeftMemoryHigh',
    series: {
      [on('node-1', 'weft_role_memory_bytes', {
        role: 'control',
        kind: 'pss',
      })]: `${60 * MiB}x4 ${460 * MiB}x40`,
      [on('node-1', 'weft_role_memory_bytes', { role: 'dataplane', kind: 'pss' })]: `${100 * MiB}x50`,
    },
    from: 5,
    labels: where('node-1'),
    summary: 'The agent of node node-1 uses 560MiB of memory; its limit is 640 MiB.',
  },
  {
    alert: 'WeftVersionSkew',
    series: {
      [on('node-1', 'weft_build_info', { version: '0.1.0' })]: '1x800',
      [on('node-2', 'weft_build_info', { version: '0.1.0' })]: '1x4 stale',
      [on('node-2', 'weft_build_info', { version: '0.2.0' })]: '_x5 1x800',
    },
    from: 5,
    labels: {},
    summary: '2 versions of Weft have run side by side for 12 hours.',
  },
];

export const AGENT_QUIET: readonly QuietCase[] = [
  {
    alert: 'WeftNoAgents',
    when: 'one of two answers',
    series: { [on('a', 'up')]: '1x200', [on('b', 'up')]: '0x200' },
  },
  {
    alert: 'WeftManyAgentsDown',
    when: 'two of ten are down',
    series: Object.fromEntries(TEN.map((node, at) => [on(node, 'up'), at < 2 ? '0x200' : '1x200'])),
  },
  {
    alert: 'WeftManyAgentsDown',
    when: 'three of twenty are down',
    series: Object.fromEntries(
      [...TEN, ...TEN.map((node) => `${node}-b`)].map((node, at) => [
        on(node, 'up'),
        at < 3 ? '0x200' : '1x200',
      ]),
    ),
  },
  {
    alert: 'WeftAgentDown',
    when: 'it answers again and again',
    series: {
      [on('a', 'up')]: '1x4 0x9 1x4 0x9 1x200',
      'up{job="node-exporter",instance="a:9100"}': '0x200',
    },
  },
  {
    alert: 'WeftAgentNotScraped',
    when: 'the scrapes name no node, so nothing can be said',
    series: { [podInfo('a')]: '1x200', 'up{job="weft",instance="10.0.0.7:6782"}': '1x200' },
  },
  {
    alert: 'WeftAgentNotScraped',
    when: 'it is a target that does not answer',
    series: { [podInfo('a')]: '1x200', [on('a', 'up')]: '0x200' },
  },
  {
    alert: 'WeftAgentNotReady',
    when: 'it is not for four minutes',
    series: { [on('a', 'weft_ready')]: '1x9 0x4 1x200' },
  },
  {
    alert: 'WeftFaultFound',
    when: 'it is gone at the next look',
    series: { [on('a', 'weft_faults', { check: 'foreign_rules', severity: 'error' })]: '0x9 2x10 0x200' },
  },
  {
    alert: 'WeftSelfCheckStale',
    when: 'it succeeds once within the hour',
    series: { [on('a', 'weft_self_check_age_seconds')]: '0+60x59 0+60x59 0+60x59' },
  },
  {
    alert: 'WeftTrouble',
    when: 'each lasts four minutes',
    series: {
      [on('a', 'weft_trouble', { code: 'NOT_FOUND' })]: '0x9 1x4 0x200',
      [on('a', 'weft_trouble', { code: 'FORBIDDEN' })]: '0x14 1x4 0x200',
    },
  },
  {
    alert: 'WeftClusterProblems',
    when: 'one is there while a node is replaced',
    series: { [on('a', 'weft_cluster_problems')]: '0x9 1x14 0x200' },
  },
  {
    alert: 'WeftDataplaneDown',
    when: 'a worker is started again between two scrapes',
    series: { [on('a', 'weft_role_up', { role: 'dataplane' })]: '1x9 0 1x200' },
  },
  {
    alert: 'WeftDataplaneStuck',
    when: 'the node is idle and a new worker begins at 0',
    series: { [on('a', 'weft_dataplane_passes_total', { worker: '0' })]: '0+60x30 0+60x200' },
  },
  {
    alert: 'WeftDataplaneRestarting',
    when: 'it was started again once, and later once more',
    series: { [on('a', 'weft_role_restarts_total', { role: 'dataplane' })]: '0x29 1x19 2x200' },
  },
  {
    alert: 'WeftDataplaneRestarting',
    when: 'it was started again once, and had been before',
    series: { [on('a', 'weft_role_restarts_total', { role: 'dataplane' })]: '7x29 8x200' },
  },
  {
    alert: 'WeftDataplaneRestarting',
    when: 'a new agent counts from 0',
    series: { [on('a', 'weft_role_restarts_total', { role: 'dataplane' })]: '7x29 0x200' },
  },
  {
    alert: 'WeftControlRestarting',
    when: 'it was started again twice, on one node after others',
    series: {
      [on('a', 'weft_role_restarts_total', { role: 'control' })]: '0x29 2x200',
      [on('b', 'weft_role_restarts_total', { role: 'control' })]: '7x29 8x4 9x200',
    },
  },
  {
    alert: 'WeftDataplanePauses',
    when: 'one lasts a second',
    series: { [on('a', 'weft_dataplane_longest_pause_seconds', { worker: '0' })]: '0.01x9 1x2 0.01x200' },
  },
  {
    alert: 'WeftDataplaneStarved',
    when: 'it waits a tenth of the time',
    series: { [on('a', 'weft_dataplane_run_delay_seconds_total', { worker: '0' })]: '0+6x200' },
  },
  {
    alert: 'WeftEventLoopDelay',
    when: 'the longest delay is long and the others are not',
    series: {
      [on('a', 'weft_event_loop_delay_seconds', { statistic: 'max' })]: '3x200',
      [on('a', 'weft_event_loop_delay_seconds', { statistic: 'p99' })]: '0.1x200',
    },
  },
  {
    alert: 'WeftMemoryHigh',
    when: 'pages that the processes share are counted once',
    series: {
      [on('a', 'weft_role_memory_bytes', { role: 'control', kind: 'pss' })]: `${128 * MiB}x200`,
      [on('a', 'weft_role_memory_bytes', { role: 'control', kind: 'rss' })]: `${600 * MiB}x200`,
    },
  },
  {
    alert: 'WeftMemoryHigh',
    when: 'a roll-out is stuck: two pods tell of one agent',
    series: twice({
      [on('a', 'weft_role_memory_bytes', { role: 'control', kind: 'pss' })]: `${400 * MiB}x200`,
    }),
  },
  {
    alert: 'WeftVersionSkew',
    when: 'a roll-out takes eleven hours',
    series: {
      [on('a', 'weft_build_info', { version: '0.1.0' })]: '1x900 stale',
      [on('b', 'weft_build_info', { version: '0.1.0' })]: '1x240 stale',
      [on('b', 'weft_build_info', { version: '0.2.0' })]: '_x241 1x1960',
      [on('a', 'weft_build_info', { version: '0.2.0' })]: '_x901 1x1300',
    },
  },
];
