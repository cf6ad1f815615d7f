// The objects for the Prometheus operator and Grafana: they find the agents of the DaemonSet, and are what the plain files are.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';

import { AGENTS } from '../../manifests/monitoring/alert.ts';
import { prometheusMissing, promtool } from '../support/prometheus.ts';
import {
  type Fields,
  at,
  fields,
  kustomize,
  kustomizeMissing,
  list,
  nameOf,
  parseDocuments,
  readManifest,
  word,
} from './manifests-documents.ts';

const skip = kustomizeMissing();
const PORT = 6782;

function named(documents: readonly Fields[], name: string): Fields {
  const found = documents.find((each) => nameOf(each) === name);
  assert.ok(found !== undefined, `there is no ${name}`);
  return found;
}

const podTemplate = (): Fields => {
  const daemonSet = named(parseDocuments(readManifest('weft.yaml')), 'DaemonSet/weft/weft');
  return fields(at(daemonSet, 'spec.template'));
};

function assertSelects(selector: Fields, labels: Fields): void {
  assert.ok(Object.keys(selector).length > 0);
  for (const [label, value] of Object.entries(selector)) assert.equal(labels[label], value, label);
}

/** By its own key: labels have dots. */
const labelsOf = (object: Fields): Fields => fields(fields(object['metadata'])['labels']);

const isAgentsJob = (job: string): boolean => {
  const [, expression = ''] = /^job=~"(.*)"$/.exec(AGENTS) ?? [];
  return new RegExp(`^(?:${expression})$`).test(job);
};

it('PodMonitor and what comes with it', { skip }, () => {
  const documents = kustomize('monitoring');
  assert.deepEqual(documents.map(nameOf).sort(), [
    'ConfigMap/weft/weft-dashboard',
    'PodMonitor/weft/weft',
    'PrometheusRule/weft/weft',
  ]);
  const monitor = fields(named(documents, 'PodMonitor/weft/weft')['spec']);
  const template = podTemplate();
  const labels = fields(at(template, 'metadata.labels'));
  assertSelects(fields(at(monitor, 'selector.matchLabels')), labels);
  assert.ok(isAgentsJob(word(labels[word(monitor['jobLabel'])])), 'the job is one that the alerts ask for');
  const [endpoint = {}, ...more] = list(monitor['podMetricsEndpoints']);
  assert.deepEqual(more, []);
  // The port is not declared, so none can be named; test/netns/monitoring.test.ts scrapes through these.
  assert.deepEqual(
    [endpoint['port'], endpoint['portNumber'], endpoint['targetPort']],
    [undefined, undefined, undefined],
  );
  const relabelings = list(endpoint['relabelings']);
  const kept = relabelings.find(({ action }) => action === 'keep');
  assert.ok(
    at(template, `spec.containers.${word(kept?.['regex'])}`) !== undefined,
    'the container is the agent',
  );
  assert.ok(relabelings.some(({ replacement }) => replacement === `$1:${PORT}`));
  assert.equal(fields(at(template, 'metadata.annotations'))['prometheus.io/port'], String(PORT));
  assert.ok(relabelings.some(({ targetLabel }) => targetLabel === 'node'));
});

it("with Weave's names: a headless Service and a ServiceMonitor that finds it", { skip }, () => {
  const documents = kustomize('monitoring/weave-net');
  assert.deepEqual(documents.map(nameOf).sort(), [
    'ConfigMap/weft/weft-dashboard',
    'PrometheusRule/weft/weft',
    'Service/weft/weave-net',
    'ServiceMonitor/weft/weave-net',
  ]);
  const service = named(documents, 'Service/weft/weave-net');
  const labels = labelsOf(service);
  // What kube-prometheus' addon selects by, and others.
  assertSelects({ 'k8s-app': 'weave-net', name: 'weave-net' }, labels);
  assert.deepEqual(
    [at(service, 'spec.clusterIP'), at(service, 'spec.publishNotReadyAddresses')],
    ['None', true],
  );
  assertSelects(fields(at(service, 'spec.selector')), fields(at(podTemplate(), 'metadata.labels')));
  assert.deepEqual(at(service, 'spec.ports'), [
    { name: 'weave-net-metrics', port: PORT, targetPort: PORT, protocol: 'TCP' },
  ]);
  const monitor = fields(named(documents, 'ServiceMonitor/weft/weave-net')['spec']);
  assertSelects(fields(at(monitor, 'selector.matchLabels')), labels);
  assert.deepEqual(at(monitor, 'namespaceSelector.matchNames'), ['weft']);
  assert.ok(isAgentsJob(word(labels[word(monitor['jobLabel'])])), 'the job is one that the alerts ask for');
  const [endpoint = {}] = list(monitor['endpoints']);
  assert.equal(endpoint['port'], 'weave-net-metrics');
  assert.deepEqual(endpoint['relabelings'], [
    { sourceLabels: ['__meta_kubernetes_pod_node_name'], targetLabel: 'node' },
  ]);
});

it('the PrometheusRule has the rules of the plain file', { skip }, () => {
  const [rules] = parseDocuments(readManifest('monitoring/rules.yaml'));
  assert.deepEqual(named(kustomize('monitoring'), 'PrometheusRule/weft/weft')['spec'], rules);
});

it("the ConfigMap is the dashboard, with the label that Grafana's sidecar looks for", { skip }, () => {
  const text = readManifest('monitoring/rules-and-dashboard/dashboard.json');
  const configMap = named(kustomize('monitoring'), 'ConfigMap/weft/weft-dashboard');
  const data = fields(configMap['data']);
  assert.deepEqual(Object.keys(data), ['weft.json']);
  assert.deepEqual(JSON.parse(word(data['weft.json'])), JSON.parse(text));
  assert.equal(labelsOf(configMap)['grafana_dashboard'], '1');
  // "kubectl apply" keeps a copy in an annotation, which holds 256 KiB.
  assert.ok(text.length < 200_000, `${text.length} bytes`);
});

it('the dashboard: each panel has an id and a place of its own, a description, and a query', () => {
  const dashboard = JSON.parse(readManifest('monitoring/rules-and-dashboard/dashboard.json')) as Fields; // as: our own file
  const panels = list(dashboard['panels']);
  assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length);
  const taken = new Map<string, string>();
  for (const panel of panels) {
    const title = word(panel['title']);
    const [x, y, w, h] = ['x', 'y', 'w', 'h'].map((key) => Number(fields(panel['gridPos'])[key])) as [
      number,
      number,
      number,
      number,
    ]; // as: four keys
    assert.ok(x >= 0 && x + w <= 24, title);
    for (let column = x; column < x + w; column++) {
      for (let line = y; line < y + h; line++) {
        const other = taken.get(`${column},${line}`);
        assert.equal(other, undefined, `"${title}" lies on "${other}"`);
        taken.set(`${column},${line}`, title);
      }
    }
    if (panel['type'] === 'row') continue;
    assert.ok(word(panel['description']).endsWith('.'), title);
    assert.ok(list(panel['targets']).length > 0, title);
  }
});

it(
  'the scrape configuration of the documentation is one that Prometheus takes',
  { skip: prometheusMissing() },
  () => {
    const page = readFileSync(new URL('../../docs/operations/monitoring.md', import.meta.url), 'utf8');
    const [, configuration] = /^```yaml\n(.*?)^```$/ms.exec(page) ?? [];
    assert.ok(configuration !== undefined);
    const folder = mkdtempSync(join(tmpdir(), 'weft-scrape-'));
    try {
      const file = join(folder, 'prometheus.yaml');
      // Debian's Prometheus has no discovery in Kubernetes.
      const discovery = /^ {4}kubernetes_sd_configs:\n(?: {6}.*\n)+/m;
      assert.match(configuration, discovery);
      writeFileSync(file, configuration.replace(discovery, ''));
      writeFileSync(join(folder, 'rules.yaml'), readManifest('monitoring/rules.yaml'));
      const { status, output } = promtool(['check', 'config', file]);
      assert.equal(status, 0, output);
      assert.match(output, /rules found/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);
