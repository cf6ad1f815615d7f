// Several data plane workers on each node (docs/decisions/0018): flows are spread over them, and nothing is lost while each of them, the
// spare, the TUN or the whole agent goes. Losses and order are counted by sequence number in every flow; times are printed, never asserted.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';

import { until } from '../lab/condition.ts';
import { disturb } from '../lab/disturbance.ts';
import { runCommand } from '../lab/command.ts';
import { enterEnclosure } from '../lab/enclosure.ts';
import { type Lab, type LabNode, createLab } from '../lab/lab.ts';
import type { Probe } from '../lab/probe/endpoint.ts';

await enterEnclosure();

const WORKERS = 2;
const FLOWS = 12;
const PER_SECOND = 250;
const ROUNDS = 4;

let lab: Lab;
let nodes: readonly LabNode[];
let node: LabNode;

before(async () => {
  lab = await createLab();
  nodes = await lab.addNodes(['node-1', 'node-2'], {
    environment: { WEFT_DATAPLANE_WORKERS: String(WORKERS) },
  });
  for (const each of nodes) await each.addPod(`pod-of-${each.name}`);
  node = nodes[0]!; // !: two were added
});

after(() => lab.close());

/** Flows between the pods, with an answer to each datagram. */
async function startFlows(): Promise<readonly Probe[]> {
  const [from, to] = lab.pods();
  assert.ok(from !== undefined && to !== undefined);
  await lab.endpoint(to);
  const endpoint = await lab.endpoint(from);
  return Promise.all(
    Array.from({ length: FLOWS }, () => endpoint.startProbe(to.address, { perSecond: PER_SECOND })),
  );
}

interface Act {
  readonly what: string;
  readonly act: () => Promise<void>;
}

/** Runs the acts under the flows, of which nothing may be lost. */
async function withoutLoss(acts: readonly Act[], say: (text: string) => void): Promise<void> {
  const flows = await startFlows();
  const [watched] = flows;
  assert.ok(watched !== undefined);
  const marks = (): Promise<readonly number[]> => Promise.all(flows.map((flow) => flow.mark()));
  const windows: { what: string; backMs: number; from: readonly number[]; to: readonly number[] }[] = [];
  for (const { what, act } of acts) {
    let from: readonly number[] = [];
    const marked = async (): Promise<void> => {
      from = await marks();
      await act();
    };
    const { backMs } = await disturb(watched, { what, act: marked, calmAnswers: 50 });
    windows.push({ what, backMs, from, to: await marks() });
  }
  for (const flow of flows) await flow.finish();
  const reports = await Promise.all(flows.map((flow) => flow.report()));
  for (const { what, backMs, from, to } of windows) {
    const during = await Promise.all(flows.map((flow, index) => flow.report(from[index], to[index])));
    const slowest = Math.max(...during.map(({ roundTripMs }) => roundTripMs.max));
    say(`${what}: took ${backMs.toFixed(0)} ms, longest round trip of any flow ${slowest.toFixed(0)} ms`);
  }
  const sum = (name: 'sent' | 'lost' | 'duplicates' | 'reordered' | 'sendErrors'): number =>
    reports.reduce((total, report) => total + report[name], 0);
  say(
    `${FLOWS} flows: ${sum('sent')} sent, ${sum('lost')} lost, ${sum('duplicates')} twice, ${sum('reordered')} out of order`,
  );
  assert.ok(sum('sent') > 0);
  assert.deepEqual({ lost: sum('lost'), sendErrors: sum('sendErrors') }, { lost: 0, sendErrors: 0 });
}

/** Inner packets by worker. */
async function carried({ agent }: LabNode, direction: 'egress' | 'ingress'): Promise<readonly number[]> {
  const series = new RegExp(
    `^weft_dataplane_worker_packets_total\\{direction="${direction}",worker="(\\d)"\\} (\\d+)$`,
    'gm',
  );
  const counts: number[] = [];
  for (const [, worker, count] of (await agent.metrics()).matchAll(series))
    counts[Number(worker)] = Number(count);
  return counts;
}

const restored = ({ agent }: LabNode, killed: readonly number[]): Promise<void> =>
  until(
    () => {
      const { workers, spares } = agent.dataplanes();
      return ![...workers, ...spares].some((pid) => pid === 0 || killed.includes(pid)) && spares.length === 1;
    },
    { what: `the data planes of "${agent.logFile}" to be complete` },
  );

const kill =
  (
    on: LabNode,
    choose: (pids: ReturnType<LabNode['agent']['dataplanes']>) => readonly (number | undefined)[],
  ) =>
  async (): Promise<void> => {
    const pids = choose(on.agent.dataplanes()).filter((pid) => pid !== undefined);
    for (const pid of pids) process.kill(pid, 'SIGKILL');
    await restored(on, pids);
  };

/** Of the TUN, as the kernel has them. */
const queues = async ({ namespace }: LabNode): Promise<number> => {
  const names = await runCommand(namespace.place, ['ls', '/sys/class/net/weft0/queues']);
  return names.split('\n').filter((name) => name.startsWith('rx-')).length;
};

test('flows are spread over the workers of both nodes, both ways, and keep their order', async (t) => {
  const flows = await startFlows();
  const [watched] = flows;
  assert.ok(watched !== undefined);
  await until(async () => (await watched.answered()) >= 500, { what: '500 answers' });
  for (const flow of flows) await flow.finish();
  const reports = await Promise.all(flows.map((flow) => flow.report()));
  const sum = (name: 'sent' | 'lost' | 'reordered'): number =>
    reports.reduce((total, report) => total + report[name], 0);
  t.diagnostic(
    `${sum('sent')} sent in ${FLOWS} flows, ${sum('lost')} lost, ${sum('reordered')} out of order`,
  );
  for (const each of nodes) {
    for (const direction of ['egress', 'ingress'] as const) {
      const counts = await carried(each, direction);
      t.diagnostic(`${each.name} ${direction}: ${counts.join(' and ')} packets`);
      assert.equal(counts.length, WORKERS);
      assert.ok(
        counts.every((count) => count > sum('sent') / FLOWS / 2),
        counts.join(),
      );
    }
  }
  assert.equal(sum('lost'), 0);
});

test('each worker and the spare are killed with -9 in turn, on both nodes: nothing lost', async (t) => {
  const acts: Act[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    for (const on of nodes) {
      for (let worker = 0; worker < WORKERS; worker++) {
        acts.push({
          what: `worker ${worker} of ${on.name}`,
          act: kill(on, ({ workers }) => [workers[worker]]),
        });
      }
      acts.push({ what: `spare of ${on.name}`, act: kill(on, ({ spares }) => spares) });
    }
  }
  await withoutLoss(acts, (text) => t.diagnostic(text));
});

test('both workers killed at once, then all of a data plane: nothing lost', async (t) => {
  await withoutLoss(
    [
      { what: 'both workers', act: kill(node, ({ workers }) => workers) },
      { what: 'workers and spare', act: kill(node, ({ workers, spares }) => [...workers, ...spares]) },
    ],
    (text) => t.diagnostic(text),
  );
});

test('somebody deletes the TUN: all its queues are attached again', async () => {
  await runCommand(node.namespace.place, ['ip', 'link', 'delete', 'weft0']);
  const before = await carried(node, 'egress');
  await until(async () => (await queues(node)) === WORKERS, { what: 'the queues to be back' });
  await node.agent.ready();
  const [from, to] = lab.pods();
  assert.ok(from !== undefined && to !== undefined);
  await until(async () => (await from.tryExec(['ping', '-c1', '-W1', to.address])).status === 0, {
    what: 'the address and the route to be back',
  });
  await withoutLoss([], () => undefined);
  const now = await carried(node, 'egress');
  assert.ok(
    now.every((count, worker) => count > (before[worker] ?? 0)),
    `${before.join()} → ${now.join()}`,
  );
});

/** A new agent takes over with so many workers. */
const upgrade =
  (on: LabNode, workers: number): (() => Promise<void>) =>
  async () => {
    const next = on.agent.startBeside({ WEFT_DATAPLANE_WORKERS: String(workers) });
    await next.ready();
    await next.replaceOld();
  };

test('hand-over between agents of two workers, on both nodes: nothing lost', async (t) => {
  const acts = [...nodes, ...nodes].map((on) => ({
    what: `upgrade of ${on.name}`,
    act: upgrade(on, WORKERS),
  }));
  await withoutLoss(acts, (text) => t.diagnostic(text));
});

test('the new agent is killed after it took over and removed the counters that it did not know: the old one goes on', async (t) => {
  const act = async (): Promise<void> => {
    const next = node.agent.startBeside();
    await next.ready();
    await runCommand(node.namespace.place, ['sh', '-c', 'rm /run/weft/dataplane.stats.*']);
    await next.process.kill();
    await restored(node, node.agent.dataplanes().workers);
    await node.agent.ready();
  };
  await withoutLoss([{ what: 'the new one killed', act }], (text) => t.diagnostic(text));
});

test('hand-over to an agent with fewer workers: the number stays, and it says so', async (t) => {
  await withoutLoss([{ what: 'upgrade to 1', act: upgrade(node, 1) }], (text) => t.diagnostic(text));
  assert.equal(node.agent.dataplanes().workers.length, WORKERS);
  assert.match(
    readFileSync(node.agent.logFile, 'utf8'),
    /"hand_over_started".*its 2 data plane workers stay until an agent starts afresh/,
  );
});

test('hand-over to an agent with more workers: they share the flows from then on, and nothing is lost', async (t) => {
  await withoutLoss([{ what: 'upgrade to 4', act: upgrade(node, 4) }], (text) => t.diagnostic(text));
  assert.equal(node.agent.dataplanes().workers.length, 4);
  assert.equal(await queues(node), 4);
  const before = await carried(node, 'ingress');
  await withoutLoss([{ what: 'worker 3', act: kill(node, ({ workers }) => [workers[3]]) }], (text) =>
    t.diagnostic(text),
  );
  const now = await carried(node, 'ingress');
  t.diagnostic(`ingress by worker: ${now.join(', ')}`);
  assert.ok(
    now.filter((count, worker) => count > (before[worker] ?? 0)).length > WORKERS,
    `${before.join()} → ${now.join()}`,
  );
});
