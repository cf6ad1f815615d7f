// `npm run bench:attach`: ADD and DEL alone, and 250 attachments on one node, 25 at a time, through real exec'd plugins, then deleted, 20
// times; and what is left after each cycle. Beside it, in turns in the same run, `bridge` + `host-local`, compiled from the CNI project's
// own modules (left out without Go, or with WEFT_BENCH_ALONE=1). Both keep their state on the disk of this checkout. WEFT_BENCH_CYCLES
// changes the 20. Prints; asserts nothing.
import { closeSync, fdatasyncSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

import { buildOptionalPrograms, optionalProgram } from '../test/cluster/build.ts';
import { runCommand } from '../test/lab/command.ts';
import { enterEnclosure, isEnclosed } from '../test/lab/enclosure.ts';
import { type Lab, type LabNode, withLab } from '../test/lab/lab.ts';
import { SHIM, createSandbox } from '../test/lab/pod.ts';
import { type AloneTimes, type Plugin, type Storm, noTimes, runAlone, runStorm } from './attachment-storm.ts';
import { type OwnTimes, compileExecClock, timeShim } from './exec-clock.ts';
import { formatTable, halfAndTail, middleAndSpread } from './figures.ts';
import { type Moment, compareMoments, lookAt } from './left-behind.ts';

const PODS = 250;
const AT_ONCE = 25;
const CYCLES = Number(process.env['WEFT_BENCH_CYCLES'] ?? 20);
/** Until V8 has compiled what is used often, and has given the heap its size: the same work, not counted. */
const WARM_UP_CYCLES = 10;
const ALONE = 200;
/** The plugins take turns after so many. */
const ALONE_TURN = 50;
const EXEC_TURNS = 500;
const SYNCS = 200;
const PEERS = ['bridge', 'host-local'];
const STATE = '/var/lib/weft';
const STATES_ON_DISK = fileURLToPath(new URL('../node_modules/.cache/weft/', import.meta.url));

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

async function weftPlugin(lab: Lab, disk: string): Promise<{ plugin: Plugin; node: LabNode }> {
  const node = await lab.addNode('weft', { start: false });
  await keepStateOn(disk, node);
  node.agent.start();
  await node.agent.ready();
  const config = { name: 'weft', type: 'weft' };
  return { node, plugin: await makePlugin(node, { program: SHIM, path: '/opt/cni/bin', config }) };
}

async function bridgePlugin(lab: Lab, disk: string): Promise<Plugin> {
  const node = await lab.addNode('bridge', { start: false });
  await keepStateOn(disk, node);
  const path = PEERS.map((name) => dirname(optionalProgram(name))).join(':');
  const config = {
    name: 'peer',
    type: 'bridge',
    bridge: 'cni0',
    isGateway: true,
    ipam: {
      type: 'host-local',
      dataDir: `${STATE}/host-local`,
      ranges: [[{ subnet: '10.88.0.0/22' }]],
      routes: [{ dst: '0.0.0.0/0' }],
    },
  };
  return makePlugin(node, { program: optionalProgram('bridge'), path, config });
}

/** In the place of the lab's tmpfs. */
async function keepStateOn(disk: string, { name, namespace }: LabNode): Promise<void> {
  const folder = join(disk, name);
  mkdirSync(folder);
  await runCommand(namespace.place, ['mount', '--bind', folder, STATE]);
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

/** What an allocation's record costs at least: bytes behind the others, and a sync. */
function timeSyncs(disk: string): readonly number[] {
  const file = openSync(join(disk, 'syncs'), 'a');
  const record = Buffer.alloc(270, 'x');
  const times = Array.from({ length: SYNCS }, () => {
    const start = performance.now();
    writeSync(file, record);
    fdatasyncSync(file);
    return performance.now() - start;
  });
  closeSync(file);
  return times;
}

async function addSeconds({ agent }: LabNode): Promise<number> {
  const start = 'weft_cni_operation_duration_seconds_sum{verb="ADD"';
  const line = (await agent.metrics()).split('\n').find((text) => text.startsWith(start));
  return Number(line?.split(' ').at(-1) ?? 0);
}

const say = (text: string): void => void process.stdout.write(`${text}\n`);

interface Measured {
  readonly alone: AloneTimes;
  readonly storms: Storm[];
}

/** Of the agent alone. */
interface Inside {
  readonly own: OwnTimes;
  readonly syncMs: readonly number[];
}

function tell(results: ReadonlyMap<Plugin, Measured>, { own, syncMs }: Inside): void {
  const plugins = [...results.keys()];
  const row = (name: string, cell: (measured: Measured) => string): readonly string[] => [
    name,
    ...[...results.values()].map(cell),
  ];
  const all = (of: (storm: Storm) => readonly number[]) => (measured: Measured) =>
    halfAndTail(measured.storms.flatMap(of), 0);
  const ofWeft =
    (text: string) =>
    ({ alone }: Measured): string =>
      alone.insideMs.length === 0 ? '–' : text;
  const retries = ({ storms }: Measured): string =>
    String(storms.reduce((sum, storm) => sum + storm.retries, 0));
  const table = [
    ['', ...plugins.map(({ name }) => (name === 'bridge' ? 'bridge + host-local' : name))],
    row('one ADD alone, p50 / p99', ({ alone }) => halfAndTail(alone.addMs)),
    row('  of it starting any program', ({ alone }) => halfAndTail(alone.startMs)),
    row('  of it inside the agent', ({ alone }) => halfAndTail(alone.insideMs, 2)),
    row('    a record on this disk', ofWeft(halfAndTail(syncMs, 2))),
    row("  the shim's own, against a ready peer", ofWeft(halfAndTail(own.ownMs, 2))),
    row('  starting a static program', ofWeft(halfAndTail(own.startMs, 2))),
    row('one DEL alone, p50 / p99', ({ alone }) => halfAndTail(alone.deleteMs)),
    row(`${PODS} ADDs, ${AT_ONCE} at once`, ({ storms }) =>
      middleAndSpread(storms.map((storm) => storm.addedMs)),
    ),
    row(
      '  one of them, p50 / p99',
      all(({ addMs }) => addMs),
    ),
    row('  told to try again', retries),
    row(`${PODS} DELs, ${AT_ONCE} at once`, ({ storms }) =>
      middleAndSpread(storms.map((storm) => storm.deletedMs)),
    ),
    row(
      '  one of them, p50 / p99',
      all(({ deleteMs }) => deleteMs),
    ),
  ];
  say(`\n${formatTable(table)}`);
}

async function measure(lab: Lab, disk: string): Promise<void> {
  const { plugin: weft, node } = await weftPlugin(lab, disk);
  const peer = process.env['WEFT_BENCH_ALONE'] === undefined ? await bridgePlugin(lab, disk) : undefined;
  const results = new Map<Plugin, Measured>();
  for (const plugin of peer === undefined ? [weft] : [weft, peer]) {
    results.set(plugin, { alone: noTimes(), storms: [] });
  }
  for (let cycle = -WARM_UP_CYCLES; cycle < 0; cycle++) await runStorm(weft, { atOnce: AT_ONCE, cycle });
  const insideSeconds = (): Promise<number> => addSeconds(node);
  for (let from = 0; from < ALONE; from += ALONE_TURN) {
    for (const [plugin, { alone }] of results) {
      const turn = { from, to: from + ALONE_TURN, times: alone };
      await runAlone(plugin, plugin === weft ? { ...turn, insideSeconds } : turn);
    }
  }
  const inside = { own: await timeShim(node, weft, EXEC_TURNS), syncMs: timeSyncs(disk) };
  const start = await lookAt(node, undefined);
  const later: Moment[] = [];
  for (let cycle = 0; cycle < CYCLES; cycle++) {
    for (const [plugin, { storms }] of results) {
      storms.push(await runStorm(plugin, { atOnce: AT_ONCE, cycle }));
    }
    later.push(await lookAt(node, start));
    say(`cycle ${cycle + 1} of ${CYCLES}`);
  }
  tell(results, inside);
  say(formatTable(compareMoments(start, later)));
}

mkdirSync(STATES_ON_DISK, { recursive: true });
const disk = mkdtempSync(join(STATES_ON_DISK, 'bench-'));
try {
  await compileExecClock();
  await withLab({}, (lab) => measure(lab, disk));
} finally {
  rmSync(disk, { recursive: true, force: true });
}
