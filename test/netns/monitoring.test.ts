// The dashboard and the alerts against a real Prometheus that scrapes real agents: every query has data, no alert goes off while all is
// well, and when a node is cut off they see it.
//
//   Prometheus (enclosure) ── 1 s ──▶ :6782 of node-1, node-2, node-3
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { ALERTS } from '../../manifests/monitoring/alert-groups.ts';
import { AGENT_ROWS } from '../../manifests/monitoring/dashboard-agent-rows.ts';
import { NETWORK_ROWS } from '../../manifests/monitoring/dashboard-network-rows.ts';
import { condition, until } from '../lab/condition.ts';
import { enterEnclosure } from '../lab/enclosure.ts';
import { type Lab, createLab } from '../lab/lab.ts';
import { type LabPrometheus, type RuleState, startPrometheus } from '../lab/prometheus.ts';
import { pingFrom } from '../lab/reachability.ts';
import { prometheusMissing } from '../support/prometheus.ts';
import { manifestPath } from '../unit/manifests-documents.ts';
import { WEAVE_ALERTS } from '../unit/weave-alerts.ts';

await enterEnclosure();

const skip = prometheusMissing();
const NODES = ['node-1', 'node-2', 'node-3'];

/** Panels that have nothing to show while all is well. */
const EMPTY: Readonly<Record<string, string>> = {
  'Trouble that a person has to put right': 'there is none',
  'Not heard for': 'every peer answers',
  'Refused, by peer': 'no packet of a peer was refused',
  'Age of the next address': 'it has never been used',
};

/** Its window of half a minute is longer than this test. */
const LATER = 'Probe loss';

/** What they tell is a matter of the machine that the test runs on. */
const OF_THE_MACHINE = new Set([
  'WeftDataplanePauses',
  'WeftDataplaneStarved',
  'WeftEventLoopDelay',
  'WeftPeerSlow',
  'WeftPeerLoss',
]);

/** Of metrics that the agents do not have, or only when something is wrong. */
const NOT_OF_AGENTS =
  /^(?:kube_pod_info|ALERTS|weave_flows|weft_peer_silence_seconds|weft_ipam_reuse_age_seconds|weft_peer_probe_loss_ratio|weft_faults)$/;

let lab: Lab;
let prometheus: LabPrometheus;

before(async () => {
  if (skip !== false) return;
  lab = await createLab();
  // The lab gives its nodes addresses in order.
  const nodes = NODES.map((name, index) => ({ name, address: `172.31.0.${11 + index}` }));
  prometheus = await startPrometheus({ nodes, rules: manifestPath('monitoring/rules.yaml') });
  await lab.addNodes(NODES, { environment: { WEFT_BLOCK_PREFIX: '29' } });
  assert.deepEqual(
    lab.nodes.map(({ name, address }) => ({ name, address })),
    nodes,
  );
  await until(async () => (await prometheus.query('up == 1')).length === NODES.length, {
    what: 'every agent to be scraped',
  });
});

after(async () => {
  if (skip !== false) return;
  await prometheus.stop();
  await lab.close();
});

/** As Grafana fills in its variables for "all", the interval as for a scrape once a second. */
const filled = (expression: string): string =>
  expression.replaceAll(/\$node|\$peer/g, '.*').replaceAll('$__rate_interval', '1m');

const QUERIES = [...NETWORK_ROWS, ...AGENT_ROWS].flatMap(({ panels }) =>
  panels.flatMap(({ title, queries }) =>
    queries.map(({ expression, legend }) => ({ title, expression: filled(expression), legend })),
  ),
);

const isShown = ({ title }: { readonly title: string }): boolean => !(title in EMPTY) && title !== LATER;

test('every query of the dashboard has data', { skip }, async () => {
  // Something for each panel to show: pods that come and go, a block that is claimed for them, packets between nodes.
  const [first, second] = lab.nodes;
  assert.ok(first !== undefined && second !== undefined);
  const remote = await second.addPod('remote');
  for (let index = 0; index < 8; index++) await first.addPod(`pod-${index}`);
  const [sender, leaving] = first.pods;
  assert.ok(sender !== undefined && leaving !== undefined);
  await leaving.delete();

  let waiting = QUERIES.filter(isShown);
  const step = async (): Promise<true | undefined> => {
    await pingFrom(sender, [remote]);
    const answers = await Promise.all(
      waiting.map(async (each) => ({ each, samples: await prometheus.query(each.expression) })),
    );
    waiting = answers
      .filter(({ samples }) => !samples.some(({ value }) => Number.isFinite(value)))
      .map(({ each }) => each);
    return waiting.length === 0 ? true : undefined;
  };
  await condition(step, { what: 'data for every query', boundMs: 15_000, intervalMs: 250 }).catch(
    (error: unknown) => {
      const words = waiting.map(({ title, expression }) => `${title}: ${expression}`);
      throw new Error(`No data for\n${words.join('\n')}`, { cause: error });
    },
  );
});

test('the labels that a legend names are there', { skip }, async () => {
  for (const { title, expression, legend } of QUERIES.filter(isShown)) {
    const [sample] = await prometheus.query(expression);
    for (const [, label = ''] of legend.matchAll(/\{\{(\w+)\}\}/g)) {
      assert.ok(sample !== undefined && label in sample.metric, `${title}: ${label}`);
    }
  }
});

test('what may be empty is empty, or it does not belong on the list', { skip }, async () => {
  for (const title of Object.keys(EMPTY)) {
    const queries = QUERIES.filter((each) => each.title === title);
    assert.ok(queries.length > 0, title);
    const answers = await Promise.all(queries.map(({ expression }) => prometheus.query(expression)));
    assert.ok(
      answers.some((samples) => samples.length === 0),
      title,
    );
  }
});

test('the query of what is known later is one that Prometheus takes', { skip }, async () => {
  const [query, ...more] = QUERIES.filter(({ title }) => title === LATER);
  assert.ok(query !== undefined && more.length === 0);
  await prometheus.query(query.expression);
});

test('every metric that an alert or a panel asks for is one that agents have', { skip }, async () => {
  const names = new Set(await prometheus.names());
  const expressions = [...ALERTS, ...QUERIES].map(({ expression }) => expression);
  const asked = new Set(
    expressions.flatMap(
      (each) => each.match(/\b(?:(?:weft|weave|kube)_\w+|process_start_time_seconds)/g) ?? [],
    ),
  );
  assert.ok(asked.size > 40, `only ${asked.size} names found`);
  assert.deepEqual(
    [...asked].filter((name) => !names.has(name) && !NOT_OF_AGENTS.test(name)),
    [],
  );
});

const isQuiet = ({ name, state, health }: RuleState): boolean =>
  health === 'ok' && (state === 'inactive' || (state === 'pending' && OF_THE_MACHINE.has(name)));

test('every alert is evaluated, and none goes off while all is well', { skip }, async () => {
  let loud: readonly RuleState[] = [];
  const look = async (): Promise<boolean> => {
    const rules = await prometheus.rules();
    loud = rules.filter((rule) => !isQuiet(rule));
    return loud.length === 0 && rules.length === ALERTS.length;
  };
  await until(look, { what: 'all alerts to be quiet', boundMs: 10_000, intervalMs: 250 }).catch(
    (error: unknown) => {
      const words = loud.map(
        ({ name, state, health, lastError }) => `${name}: ${state}, ${health} ${lastError ?? ''}`,
      );
      throw new Error(`Not quiet:\n${words.join('\n')}`, { cause: error });
    },
  );
});

test("so are Weave's own alerts", { skip }, async () => {
  for (const { name, expression } of WEAVE_ALERTS) {
    await until(async () => (await prometheus.query(expression)).length === 0, {
      what: `${name} to be quiet`,
    });
  }
});

test(
  'a node that is cut off is seen: by its name, as isolated, and by the alerts of Weave',
  { skip },
  async () => {
    const [, , third] = lab.nodes;
    assert.ok(third !== undefined);
    await third.namespace.setCable(false);
    const silentPeers = async (): Promise<readonly string[]> =>
      (await prometheus.query('count by (peer) (weft_peer_silence_seconds > 2) == 2')).map(
        ({ metric }) => metric['peer'] ?? '',
      );
    await until(async () => (await silentPeers()).join() === 'node-3', { what: 'two nodes to miss node-3' });
    const pending = async (): Promise<readonly string[]> =>
      (await prometheus.rules()).filter(({ state }) => state !== 'inactive').map(({ name }) => name);
    await until(async () => (await pending()).includes('WeftAgentDown'), {
      what: 'WeftAgentDown to be pending',
    });
    const failed = WEAVE_ALERTS.find(({ name }) => name === 'WeaveNetConnectionsFailed');
    assert.ok(failed !== undefined);
    assert.equal((await prometheus.query(failed.expression)).length, 1);
    const panel = QUERIES.find(({ title }) => title === 'Not heard for');
    assert.ok(panel !== undefined);
    assert.equal((await prometheus.query(panel.expression)).length, 2);
  },
);
