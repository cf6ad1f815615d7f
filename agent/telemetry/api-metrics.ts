// Metrics of the Kubernetes API as this node sees it: whether list and watch work, and what its requests came to.
import { ADDRESS_BLOCKS, PEERS } from '../../proto/api-kinds.ts';
import { type MetricsRegistry, type Sample, single } from './registry.ts';

/** Label values; what is none of them is "other". */
export const API_RESOURCES: readonly string[] = [PEERS, ADDRESS_BLOCKS, 'nodes', 'events', 'servicecidrs'];
const WATCHED = [PEERS, ADDRESS_BLOCKS];
const VERBS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'];

export interface ApiFacts {
  api(): {
    readonly isConnected: boolean;
    /** Undefined: never. */
    readonly lastSyncAgeSeconds: number | undefined;
    /** Of the watches that are open. */
    readonly watchAgesSeconds: Readonly<Record<string, number | undefined>>;
  };
}

export interface ApiCounters {
  /** `code`: the HTTP status, or the error's code when there was no answer; `seconds`: until the head of the answer. */
  apiRequest(request: { verb: string; resource: string; code: string; seconds: number }): void;
  apiRelisted(resource: string): void;
  apiTransferred(part: { resource: string; direction: 'sent' | 'received'; bytes: number }): void;
}

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

export function addApiMetrics(registry: MetricsRegistry, facts: ApiFacts): ApiCounters {
  registry.gauge({
    name: 'weft_api_connected',
    help: 'Whether list and watch of the Kubernetes API work.',
    samples: single(() => (facts.api().isConnected ? 1 : 0)),
  });
  registry.gauge({
    name: 'weft_api_last_sync_age_seconds',
    help: 'Time since the Kubernetes API was last heard.',
    samples: single(() => facts.api().lastSyncAgeSeconds),
  });
  registry.gauge({
    name: 'weft_api_watch_age_seconds',
    help: 'Time since the watch of a resource was opened; none while it is not.',
    samples: () =>
      Object.entries(facts.api().watchAgesSeconds).flatMap(([resource, age]): readonly Sample[] =>
        age === undefined ? [] : [[{ resource }, age]],
      ),
  });
  const relists = registry.counter({
    name: 'weft_api_relists_total',
    help: 'Lists because a watch could not go on.',
    labels: ['resource'],
  });
  const requests = registry.counter({
    name: 'weft_api_requests_total',
    help: 'Requests to the Kubernetes API, by verb, resource and HTTP status (or error code without one).',
    labels: ['verb', 'resource', 'code'],
  });
  const durations = registry.histogram({
    name: 'weft_api_request_duration_seconds',
    help: 'Time from a request to the Kubernetes API to the head of its answer, or to its failure.',
    labels: ['verb'],
    buckets: SECONDS,
  });
  const bytes = {
    received: registry.counter({
      name: 'weft_api_received_bytes_total',
      help: 'Bytes of the bodies that the Kubernetes API sent, watches included.',
      labels: ['resource'],
    }),
    sent: registry.counter({
      name: 'weft_api_sent_bytes_total',
      help: 'Bytes of the bodies that were sent to the Kubernetes API.',
      labels: ['resource'],
    }),
  };
  for (const resource of WATCHED) relists.add({ resource }, 0);
  for (const verb of VERBS) durations.start({ verb });
  for (const resource of [...API_RESOURCES, 'other']) {
    bytes.received.add({ resource }, 0);
    bytes.sent.add({ resource }, 0);
  }
  return {
    apiRequest({ verb, resource, code, seconds }) {
      requests.add({ verb, resource, code });
      durations.observe({ verb }, seconds);
    },
    apiRelisted: (resource) => relists.add({ resource }),
    apiTransferred: ({ resource, direction, bytes: count }) => bytes[direction].add({ resource }, count),
  };
}
