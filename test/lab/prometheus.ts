// A real Prometheus in the enclosure, which scrapes the lab's agents once a second as the PodMonitor would have it: its relabelings are
// applied to what Kubernetes' discovery says of pods without declared ports.
import { writeFileSync } from 'node:fs';

import { prometheusProgram } from '../support/prometheus.ts';
import {
  type Fields,
  at,
  fields,
  list,
  parseDocuments,
  readManifest,
  word,
} from '../unit/manifests-documents.ts';
import { ENCLOSURE } from './command.ts';
import { until } from './condition.ts';
import { LAB_DIRECTORY } from './enclosure.ts';
import type { LabNode } from './lab.ts';
import { logTail, startProcess } from './process.ts';

const ADDRESS = '127.0.0.1:9090';

export interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface RuleState {
  readonly name: string;
  readonly state: 'inactive' | 'pending' | 'firing';
  readonly health: string;
  readonly lastError?: string;
}

export interface LabPrometheus {
  /** Throws what Prometheus says of a query that it does not take. */
  readonly query: (expression: string) => Promise<readonly Sample[]>;
  /** What a query asks for, evaluated or not: names of all metrics that there are. */
  readonly names: () => Promise<readonly string[]>;
  readonly rules: () => Promise<readonly RuleState[]>;
  readonly stop: () => Promise<void>;
}

/** `nodes` need not run yet. */
export async function startPrometheus(options: {
  readonly nodes: readonly { readonly name: string; readonly address: string }[];
  readonly rules: string;
}): Promise<LabPrometheus> {
  const configuration = `${LAB_DIRECTORY}/prometheus.json`; // JSON is YAML
  writeFileSync(configuration, JSON.stringify(configurationOf(options)));
  const prometheus = startProcess({
    place: ENCLOSURE,
    command: [
      prometheusProgram(),
      `--config.file=${configuration}`,
      `--storage.tsdb.path=${LAB_DIRECTORY}/prometheus`,
      `--web.listen-address=${ADDRESS}`,
      '--log.level=warn',
    ],
    logFile: `${LAB_DIRECTORY}/prometheus.log`,
  });
  const isReady = async (): Promise<boolean> => {
    if (!prometheus.running()) throw new Error(`Prometheus has ended:\n${logTail(prometheus.logFile)}`);
    return (await fetch(`http://${ADDRESS}/-/ready`)).ok;
  };
  await until(isReady, { what: 'Prometheus to be ready' });
  return {
    query: async (expression) => {
      const { result } = await ask<{ result: Answer[] }>(`query?query=${encodeURIComponent(expression)}`);
      return result.map(({ metric, value }) => ({ metric, value: Number(value[1]) }));
    },
    names: () => ask('label/__name__/values'),
    rules: async () => {
      const { groups } = await ask<{ groups: { rules: RuleState[] }[] }>('rules');
      return groups.flatMap(({ rules }) => rules);
    },
    stop: () => prometheus.stop(),
  };
}

interface Answer {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [number, string];
}

async function ask<T>(path: string): Promise<T> {
  const answer = await fetch(`http://${ADDRESS}/api/v1/${path}`);
  const body = (await answer.json()) as { status: string; error?: string; data: T }; // as: Prometheus' own form
  if (body.status !== 'success') throw new Error(body.error ?? `Prometheus answered ${answer.status}`);
  return body.data;
}

function configurationOf({ nodes, rules }: Parameters<typeof startPrometheus>[0]): object {
  const monitor = parseDocuments(readManifest('monitoring/pod-monitor.yaml'))[0] ?? {};
  const endpoint = list(at(monitor, 'spec.podMetricsEndpoints'))[0] ?? {};
  const jobLabel = word(at(monitor, 'spec.jobLabel'));
  const own = { source_labels: [labelOf(jobLabel)], target_label: 'job' };
  return {
    global: { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '1s' },
    rule_files: [rules],
    scrape_configs: [
      {
        job_name: 'weft/weft/0',
        metrics_path: word(endpoint['path']),
        relabel_configs: [own, ...list(endpoint['relabelings']).map(snakeCase)],
        static_configs: nodes.flatMap((node) =>
          ['install-shim', 'agent'].map((each) => targetOf(node, each)),
        ),
      },
    ],
  };
}

const labelOf = (label: string): string => `__meta_kubernetes_pod_label_${label.replaceAll(/[^\w]/g, '_')}`;

/** What the discovery of pods says of a container without ports. */
const targetOf = ({ name, address }: Pick<LabNode, 'name' | 'address'>, container: string): object => ({
  targets: [address],
  labels: {
    __meta_kubernetes_pod_ip: address,
    __meta_kubernetes_pod_node_name: name,
    __meta_kubernetes_pod_container_name: container,
    [labelOf('app.kubernetes.io/name')]: 'weft',
  },
});

/** The operator's spelling of a relabeling in Prometheus' own. */
const snakeCase = (relabeling: Fields): Fields =>
  Object.fromEntries(
    Object.entries(fields(relabeling)).map(([key, value]) => [
      key.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      value,
    ]),
  );
