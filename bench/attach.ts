// `npm run bench:attach`: 250 attachments on one node, 25 at a time, through real exec'd plugins, then deleted, 20 times; ADD alone one
// after the other; and what is left after each cycle. Beside it, in turns in the same run, `bridge` + `host-local`, compiled from the
// CNI project's own modules (left out without Go, or with WEFT_BENCH_ALONE=1). WEFT_BENCH_CYCLES changes the 20. Prints; asserts nothing.
import { readFileSync, readdirSync } from 'node:fs';
import { dirname } from 'node:path';
import process from 'node:process';

import { buildOptionalPrograms, optionalProgram } from '../test/cluster/build.ts';
import { runCommand } from '../test/lab/command.ts';
import { enterEnclosure, isEnclosed } from '../test/lab/enclosure.ts';
import { type Lab, type LabNode, withLab } from '../test/lab/lab.ts';
import { SHIM, createSandbox } from '../test/lab/pod.ts';
import { type Plugin, type Storm, percentile, runAlone, runStorm } from './attachment-storm.ts';

const PODS = 250;
const AT_ONCE = 25;
const CYCLES = Number(process.env['WEFT_BENCH_CYCLES'] ?? 20);
const ALONE = 200;
const PEERS = ['bridge', 'host-local'];
const ROLES = ['keeper', 'control', 'dataplane'] as const;

if (!isEnclosed()) await tryBuild();
await enterEnclosure();

async function tryBuild(): Promise<void> {
  if (process.env['WEFT_BENCH_ALONE'] !== undefined) return;
  try {
    await buildOptionalPrograms(PEERS);
  } catch (error) {
    process.stderr.write(
      `Without bridge and host-local: ${error instanceof Error ? error.message : String(error)}\n`,
    );
    process.env['WEFT_BENCH_ALONE'] = '1';
  }
}

async function weftPlugin(lab: Lab): Promise<{ plugin: Plugin; node: LabNode }> {
  const node = await lab.addNode('weft');
  return {
    node,
    plugin: await makePlugin(node, {
      program: SHIM,
      path: '/opt/cni/bin',
      config: { name: 'weft', type: 'weft' },
    }),
  };
}

async function bridgePlugin(lab: Lab): Promise<Plugin> {
  const node = await lab.addNode('bridge', { start: false });
  const path = PEERS.map((name) => dirname(optionalProgram(name))).join(':');
  const config = {
    name: 'peer',
    type: 'bridge',
    bridge: 'cni0',
    isGateway: true,
    ipam: {
      type: 'host-local',
      dataDir: '/run/weft/host-local',
      ranges: [[{ subnet: '10.88.0.0/22' }]],
      routes: [{ dst: '0.0.0.0/0' }],
    },
  };
  return makePlugin(node, { program: optionalProgram('bridge'), path, config });
}

/** The namespaces are a runtime's work: made before. */
async function makePlugin(
  node: LabNode,
  options: { program: string; path: string; config: object },
): Promise<Plugin> {
  const { program, path, config } = options;
  const sandboxes = [];
  for (let at = 0; at < PODS; at++) sandboxes.push(await createSandbox(node.namespace, `pod-${at}`));
  return {
    name: node.name,
    place: node.namespace.place,
    program,
    path,
    config: JSON.stringify({ cniVersion: '1.0.0', ...config }),
    sandboxes,
  };
}

/** What may be left behind. Bytes and counts. */
type Left = Readonly<Record<string, number>>;

async function leftOn({ agent, namespace: { place } }: LabNode): Promise<Left> {
  const lines = async (command: string): Promise<readonly string[]> =>
    (await runCommand(place, command.split(' '))).split('\n');
  const veths = (await lines('ip -br link')).filter((line) => line.startsWith('vethwe'));
  const records = /Addresses: (\d+) used/.exec(await agent.status('/status'))?.[1];
  const left: Record<string, number> = {
    veths: veths.length,
    routes: (await lines('ip route show table all')).length,
    'nft lines': (await lines('nft list ruleset')).length,
    records: Number(records),
  };
  for (const role of ROLES) {
    const pid = agent.pidOf(role);
    left[`descriptors of ${role}`] = readdirSync(`/proc/${pid}/fd`).length;
    left[`MB of ${role}`] =
      Number(/^Pss:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1]) / 1024;
  }
  return left;
}

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

/** Least squares, per cycle, as a share of the mean. */
function slope(values: readonly number[]): number {
  const average = mean(values);
  const middle = (values.length - 1) / 2;
  const [above, below] = values.reduce(
    ([top, bottom], value, at) => [top + (at - middle) * (value - average), bottom + (at - middle) ** 2],
    [0, 0],
  );
  return average === 0 ? 0 : above / below / average;
}

/** The agent's own times of ADD since its start. */
interface InsideTimes {
  readonly count: number;
  readonly seconds: number;
  /** How many took no longer than a bucket's bound. */
  readonly within: (seconds: number) => number;
}

async function insideTimes(node: LabNode): Promise<InsideTimes> {
  const lines = (await node.agent.metrics()).split('\n');
  const value = (field: string, labels: string): number => {
    const start = `weft_cni_operation_duration_seconds_${field}{${labels}`;
    return Number(
      lines
        .find((line) => line.startsWith(start))
        ?.split(' ')
        .at(-1) ?? 0,
    );
  };
  return {
    count: value('count', 'verb="ADD"'),
    seconds: value('sum', 'verb="ADD"'),
    within: (seconds) => value('bucket', `le="${seconds}",verb="ADD"`),
  };
}

const ms = (value: number, digits = 1): string => `${value.toFixed(digits)} ms`;
const say = (text: string): void => void process.stdout.write(`${text}\n`);

function tellStorms(name: string, storms: readonly Storm[]): void {
  const seconds = (of: (storm: Storm) => number): string => {
    const values = storms.map(of).toSorted((a, b) => a - b);
    return `${((values[Math.floor(values.length / 2)] ?? Number.NaN) / 1000).toFixed(2)} s (worst ${((values.at(-1) ?? Number.NaN) / 1000).toFixed(2)} s)`;
  };
  const adds = storms.flatMap((storm) => storm.addMs);
  say(
    `${name.padEnd(8)} all added ${seconds((storm) => storm.addedMs)}, all deleted ${seconds((storm) => storm.deletedMs)}; one ADD p50 ${ms(percentile(adds, 0.5), 0)}, p99 ${ms(percentile(adds, 0.99), 0)}, ${storms.reduce((sum, { retries }) => sum + retries, 0)} tried again`,
  );
}

/** Nothing else runs meanwhile. `node`: of an agent that tells what it took itself. */
async function tellAlone(plugin: Plugin, node: LabNode | undefined): Promise<void> {
  const before = node === undefined ? undefined : await insideTimes(node);
  const { addMs, deleteMs, startMs } = await runAlone(plugin, ALONE);
  say(
    `${plugin.name.padEnd(8)} alone: ADD p50 ${ms(percentile(addMs, 0.5))}, p99 ${ms(percentile(addMs, 0.99))}; DEL p50 ${ms(percentile(deleteMs, 0.5))}; a program that does nothing ${ms(percentile(startMs, 0.5))}`,
  );
  if (node === undefined || before === undefined) return;
  const after = await insideTimes(node);
  const count = after.count - before.count;
  const insideMs = ((after.seconds - before.seconds) * 1000) / count;
  const share = (bound: number): string =>
    `${((100 * (after.within(bound) - before.within(bound))) / count).toFixed(0)} % within ${bound * 1000} ms`;
  say(`${''.padEnd(8)} inside the agent ${ms(insideMs, 2)} on average, ${share(0.002)}, ${share(0.005)}`);
  say(
    `${''.padEnd(8)} the shim's own ${ms(mean(addMs) - mean(startMs) - insideMs, 2)} on average: without exec and without the agent`,
  );
}

await withLab({}, async (lab) => {
  const { plugin: weft, node } = await weftPlugin(lab);
  const peer = process.env['WEFT_BENCH_ALONE'] === undefined ? await bridgePlugin(lab) : undefined;
  const plugins = peer === undefined ? [weft] : [peer, weft];

  for (const plugin of plugins) await tellAlone(plugin, plugin === weft ? node : undefined);

  const storms = new Map(plugins.map((plugin) => [plugin, [] as Storm[]]));
  const left: Left[] = [];
  for (let cycle = 0; cycle < CYCLES; cycle++) {
    for (const plugin of plugins)
      storms.get(plugin)?.push(await runStorm(plugin, { atOnce: AT_ONCE, cycle }));
    left.push(await leftOn(node));
    say(
      `cycle ${cycle + 1} of ${CYCLES}: ${((storms.get(weft)?.at(-1)?.addedMs ?? Number.NaN) / 1000).toFixed(2)} s`,
    );
  }
  for (const [plugin, results] of storms) tellStorms(plugin.name, results);
  say(`${'left after a cycle'.padEnd(28)} ${'first'.padStart(9)} ${'last'.padStart(9)}   slope a cycle`);
  for (const name of Object.keys(left[0] ?? {})) {
    const values = left.map((each) => each[name] ?? Number.NaN);
    const cell = (value: number | undefined): string =>
      (value ?? Number.NaN).toFixed(name.startsWith('MB') ? 1 : 0).padStart(9);
    say(
      `${name.padEnd(28)} ${cell(values[0])} ${cell(values.at(-1))}   ${(100 * slope(values.slice(1))).toFixed(2)} %`,
    );
  }
});
