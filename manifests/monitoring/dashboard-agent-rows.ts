// Rows of the dashboard about what the agents do. A test runs every query against a Prometheus that scrapes real ones.
import { type Row, graph, of, quantile, rate, sum, times } from './dashboard-panels.ts';

const IPAM: Row = {
  title: 'Addresses',
  panels: [
    graph('Blocks of the range', {
      unit: 'none',
      description: 'As the nodes know the cluster; quarantined ones become free.',
      queries: [{ expression: `max by (state) (weft_ipam_range_blocks${of()})`, legend: '{{state}}' }],
    }),
    graph('Addresses of the nodes', {
      unit: 'none',
      description: 'In the blocks that each node holds.',
      queries: [
        { expression: sum('node, state', `weft_ipam_addresses${of()}`), legend: '{{node}} {{state}}' },
      ],
    }),
    graph('Blocks of the nodes', {
      unit: 'none',
      description: 'Fenced: another node holds it. Returning: it is given back.',
      queries: [{ expression: sum('node, state', `weft_ipam_blocks${of()}`), legend: '{{node}} {{state}}' }],
    }),
    graph('Claims', {
      unit: 'cpm',
      description: 'Requests for a block, a minute.',
      queries: [
        {
          expression: `${sum('outcome', rate(`weft_ipam_claims_total${of()}`))} * 60`,
          legend: '{{outcome}}',
        },
      ],
    }),
    graph('Time of a claim', {
      unit: 's',
      description: 'From when a block was wanted until it was held.',
      queries: times(`weft_ipam_claim_duration_seconds_bucket${of()}`),
    }),
    graph('Age of the next address', {
      unit: 's',
      description: 'How long it has been free. Short: addresses come around fast.',
      queries: [{ expression: `min by (node) (weft_ipam_reuse_age_seconds${of()})`, legend: '{{node}}' }],
    }),
  ],
};

const CNI: Row = {
  title: 'CNI',
  panels: [
    graph('Requests', {
      unit: 'cpm',
      description: 'Of the container runtime, a minute, by outcome: ok, or the CNI error code.',
      queries: [
        {
          expression: `${sum('verb, outcome', rate(`weft_cni_operations_total${of()}`))} * 60`,
          legend: '{{verb}} {{outcome}}',
        },
      ],
    }),
    graph('Time of a request', {
      unit: 's',
      description: 'In the agent.',
      queries: times(`weft_cni_operation_duration_seconds_bucket${of('verb=~"ADD|DEL"')}`, 'verb'),
    }),
    graph('Time of each step', {
      unit: 's',
      description:
        'The slowest of a hundred. Allocate waits for the disk, wait for the network of the node, the others for the kernel.',
      queries: [
        {
          expression: quantile(0.99, {
            by: 'verb, step',
            series: `weft_cni_step_duration_seconds_bucket${of('verb=~"ADD|DEL"')}`,
          }),
          legend: '{{verb}} {{step}}',
        },
      ],
    }),
    graph('Failures, by step', {
      unit: 'cpm',
      description: 'A minute.',
      queries: [
        {
          expression: `${sum('verb, step', rate(`weft_cni_step_failures_total${of()}`))} * 60`,
          legend: '{{verb}} {{step}}',
        },
      ],
    }),
  ],
};

const API: Row = {
  title: 'Kubernetes API',
  panels: [
    graph('Connected agents', {
      unit: 'none',
      description: 'List and watch work.',
      queries: [{ expression: sum('', `weft_api_connected${of()}`), legend: 'connected' }],
    }),
    graph('Last heard', {
      unit: 's',
      description: 'Time since anything came from the API, a bookmark at the least; and age of the watches.',
      queries: [
        { expression: `max by (node) (weft_api_last_sync_age_seconds${of()})`, legend: '{{node}}' },
        {
          expression: `max by (resource) (weft_api_watch_age_seconds${of()})`,
          legend: 'oldest watch of {{resource}}',
        },
      ],
    }),
    graph('Last-known state on disk', {
      unit: 's',
      description: 'Its age: it is written when something changes.',
      queries: [{ expression: `max by (node) (weft_snapshot_age_seconds${of()})`, legend: '{{node}}' }],
    }),
    graph('Requests', {
      unit: 'cpm',
      description: 'A minute, by HTTP status, or by error where there was no answer.',
      queries: [
        {
          expression: `${sum('verb, resource, code', rate(`weft_api_requests_total${of()}`))} * 60`,
          legend: '{{verb}} {{resource}} {{code}}',
        },
      ],
    }),
    graph('Time of a request', {
      unit: 's',
      description: 'Until the head of the answer.',
      queries: times(`weft_api_request_duration_seconds_bucket${of()}`, 'verb'),
    }),
    graph('Bytes', {
      unit: 'Bps',
      description: 'Of the bodies.',
      queries: [
        {
          expression: sum('resource', rate(`weft_api_received_bytes_total${of()}`)),
          legend: '{{resource}} received',
        },
        {
          expression: sum('resource', rate(`weft_api_sent_bytes_total${of()}`)),
          legend: '{{resource}} sent',
        },
      ],
    }),
    graph('Lists because a watch could not go on', {
      unit: 'cpm',
      description: 'A minute.',
      queries: [
        {
          expression: `${sum('node, resource', rate(`weft_api_relists_total${of()}`))} * 60`,
          legend: '{{node}} {{resource}}',
        },
      ],
    }),
  ],
};

const PROCESSES: Row = {
  title: "Agent's processes",
  panels: [
    graph('CPU', {
      unit: 'percentunit',
      description: 'By role, of one core.',
      queries: [
        {
          expression: sum('node, role', rate(`weft_role_cpu_seconds_total${of()}`)),
          legend: '{{node}} {{role}}',
        },
      ],
    }),
    graph('Memory', {
      unit: 'bytes',
      description:
        'By role; pages that processes share are counted once. The limit of the container is 640 MiB.',
      queries: [
        {
          expression: sum('node, role', `weft_role_memory_bytes${of('kind="pss"')}`),
          legend: '{{node}} {{role}}',
        },
      ],
    }),
    graph('Restarts', {
      unit: 'none',
      description: 'Processes that ended and were started again, within the last hour.',
      queries: [
        {
          expression: sum('node, role', `increase(weft_role_restarts_total${of()}[1h])`),
          legend: '{{node}} {{role}}',
        },
      ],
    }),
    graph('Delay of the event loop', {
      unit: 's',
      description: "Control's, in the interval of a scrape.",
      queries: [
        {
          expression: `max by (node, statistic) (weft_event_loop_delay_seconds${of('statistic=~"p99|max"')})`,
          legend: '{{node}} {{statistic}}',
        },
      ],
    }),
    graph('Longest pause', {
      unit: 's',
      description: 'Longest time that the data plane did not look for packets, within the last minutes.',
      queries: [
        { expression: `max by (node) (weft_dataplane_longest_pause_seconds${of()})`, legend: '{{node}}' },
      ],
    }),
    graph('Time of a pass', {
      unit: 's',
      description: 'How long at most what came meanwhile waited.',
      queries: times(`weft_dataplane_pass_duration_seconds_bucket${of()}`),
    }),
    graph('Waiting for a processor', {
      unit: 'percentunit',
      description: 'Share of the time that workers of the data plane could have run and did not.',
      queries: [
        {
          expression: sum('node, worker', rate(`weft_dataplane_run_delay_seconds_total${of()}`)),
          legend: '{{node}} {{worker}}',
        },
      ],
    }),
  ],
};

export const AGENT_ROWS: readonly Row[] = [IPAM, CNI, API, PROCESSES];
