// Two nodes for the mutations: on the one that is mutated some pods stay; on the other a pod probes one of them all the time.
//
//   pod :node-2 ── weave ── weft0 ═ underlay ═ weft0 ── weave ── kept-0 … kept-3 :node-1, and pods that come and go
import { until } from '../../lab/condition.ts';
import { runCommand } from '../../lab/command.ts';
import type { Lab, LabNode } from '../../lab/lab.ts';
import type { Probe } from '../../lab/probe/endpoint.ts';
import { FOREIGN_BRIDGE, type Target } from './kinds.ts';
import { differences, type Snapshot, takeSnapshot } from './snapshot.ts';

const START_BOUND_MS = 60_000;
const KEPT_PODS = 4;
const PROBES_PER_SECOND = 100;

export interface Stage {
  readonly node: LabNode;
  readonly target: Target;
  readonly probe: Probe;
  /** What differs from the start, in words. */
  readonly differences: () => Promise<readonly string[]>;
}

/** Resolves when everything is as it should be and the probe is answered. */
export async function setStage(lab: Lab): Promise<Stage> {
  const [node, other] = await lab.addNodes(['node-1', 'node-2'], { start: false });
  if (node === undefined || other === undefined) throw new Error('The lab made no nodes');
  for (const { agent } of [node, other]) agent.start();
  for (const { agent } of [node, other]) await agent.ready(START_BOUND_MS);
  const pods = [];
  for (let at = 0; at < KEPT_PODS; at += 1) pods.push(await node.addPod(`kept-${at}`));
  const ports = pods.map(({ result }) => result.interfaces[0]?.name ?? '');
  const prober = await other.addPod('prober');
  await runCommand(node.namespace.place, ['ip', 'link', 'add', FOREIGN_BRIDGE, 'type', 'bridge']);
  const routes = await runCommand(node.namespace.place, ['ip', '-4', 'route', 'show', 'proto', '87']);
  const [, block = ''] = /^(\S+) dev weave/m.exec(routes) ?? [];
  const [, range = '', gateway = ''] = /^(\S+) dev weft0 .*src (\S+)/m.exec(routes) ?? [];

  const isKept = (port: string): boolean => ports.includes(port);
  const snapshot = (): Promise<Snapshot> => takeSnapshot(node.namespace.place, isKept);
  const answered = pods[0];
  if (answered === undefined) throw new Error('There is no pod to probe');
  await lab.endpoint(answered); // it echoes
  const probe = await (
    await lab.endpoint(prober)
  ).startProbe(answered.address, { perSecond: PROBES_PER_SECOND });
  await until(async () => (await probe.answered()) > 0, { what: 'the first answer to the probe' });
  const right = await snapshot();
  return {
    node,
    probe,
    target: { block, range, gateway, ports },
    differences: async () => differences(right, await snapshot()),
  };
}
