// Where the time goes: Weft alone, under one TCP stream and under UDP of 64 B near the knee, on the node that sends and the one that
// receives. JavaScript by V8's own profile of the data plane, system calls by counting them, the whole machine by perf where it is there.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

import { ENCLOSURE, runCommand, tryCommand } from '../../test/lab/command.ts';
import { type Lab, type LabNode, withLab } from '../../test/lab/lab.ts';
import { formatTable } from '../figures.ts';
import { type KneeAnswer, findKnee, runStreams, sendAtRate, startServer } from './load-program.ts';
import { type CpuProfile, selfTimes } from './self-time.ts';
import type { Side } from './side.ts';
import { callTable, countCalls } from './system-calls.ts';
import { makeWeft } from './weft-side.ts';

const PROFILES = '/run/profiles';
const PERF_DATA = `${PROFILES}/perf.data`;
/** Longer than it takes to look: opening perf's counters alone takes seconds on a busy machine. */
const SECONDS = 15;
const AHEAD_MS = 700;
const PERF_SECONDS = 2;
const MOST_LINES = 15;
const PERF_LINES = 30;
const NEAR_KNEE = 0.95;

interface Load {
  readonly title: string;
  /** Resolves when it is about to begin; what it resolves to, when it has ended, with how much there was. */
  readonly start: (side: Side) => Promise<{ readonly ended: Promise<string> }>;
}

const LOADS: readonly Load[] = [
  {
    title: 'one TCP stream',
    start: async (side) => ({
      ended: runStreams(side, { streams: 1, seconds: SECONDS }).then(
        ({ gbps }) => `${gbps.toFixed(2)} Gbit/s`,
      ),
    }),
  },
  {
    title: 'UDP, 64 B',
    start: async (side) => {
      const knee = await findKnee(side, { bytes: 64, seconds: 0.2, from: 100_000 });
      const rate = { bytes: 64, seconds: SECONDS, from: knee.delivered * NEAR_KNEE };
      const told = ({ delivered, loss }: KneeAnswer): string =>
        `${delivered.toFixed(0)} packets/s, ${(loss * 100).toFixed(2)} % lost`;
      return { ended: sendAtRate(side, rate).then(told) };
    },
  },
];

/** Each load in a lab of its own: profiles are written when the agents end. */
export async function profile(crowd: number, say: (text: string) => void): Promise<void> {
  await runCommand(ENCLOSURE, ['mkdir', '-p', PROFILES]);
  for (const load of LOADS) say(await withLab({}, (lab) => profileLoad(lab, load, crowd)));
}

async function profileLoad(lab: Lab, { title, start }: Load, crowd: number): Promise<string> {
  const environment = { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${PROFILES}` };
  const side = await makeWeft(lab, { crowd, environment });
  const server = await startServer(side);
  const nodes = lab.nodes
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .map((node) => ({ node, pid: node.agent.pidOf('dataplane') }));
  const parts: string[] = [];
  try {
    const { ended } = await start(side);
    await new Promise((resolve) => setTimeout(resolve, AHEAD_MS));
    for (const { node, pid } of nodes) parts.push(await systemCalls(node, pid));
    parts.push(await wholeMachine());
    parts.unshift(`=== ${title}: ${await ended}, while it was looked at\n`);
  } finally {
    await server.kill();
  }
  // A profile is written when its process ends by itself.
  await Promise.all(lab.nodes.map(({ agent }) => agent.stop()));
  for (const { node, pid } of nodes) parts.push(javaScript(node, pid));
  return parts.join('\n');
}

const roleOf = ({ name }: LabNode): string =>
  `the data plane of ${name}, which ${name.endsWith('1') ? 'sends' : 'receives'}`;

async function systemCalls(node: LabNode, pid: number): Promise<string> {
  const counted = await countCalls(node.namespace.place, pid);
  return `System calls of ${roleOf(node)} in a second (${counted.by}) for ${counted.packets} packets or super-packets, ${counted.gigabytes.toFixed(3)} GB\n${formatTable(callTable(counted))}`;
}

function javaScript(node: LabNode, pid: number): string {
  const name = readdirSync(PROFILES).find((each) => each.split('.')[3] === String(pid));
  if (name === undefined) return `No profile of ${roleOf(node)}: it did not end by itself\n`;
  const written = JSON.parse(readFileSync(join(PROFILES, name), 'utf8')) as CpuProfile; // as: V8's documented format
  const rows = selfTimes(written)
    .slice(0, MOST_LINES)
    .map(({ name: of, place, share }) => [of, place, `${(share * 100).toFixed(1)} %`]);
  return `Self time in ${roleOf(node)}, share of the time that it was not waiting\n${formatTable([['function', 'at', ''], ...rows])}`;
}

async function wholeMachine(): Promise<string> {
  const record = [
    'perf',
    'record',
    '-q',
    '-e',
    'cpu-clock',
    '-a',
    '-o',
    PERF_DATA,
    '--',
    'sleep',
    String(PERF_SECONDS),
  ];
  const recorded = await tryCommand(ENCLOSURE, record).catch(() => undefined);
  if (recorded === undefined || recorded.status !== 0)
    return 'No view of the whole machine: perf is not there or not allowed\n';
  const report = [
    'perf',
    'report',
    '-i',
    PERF_DATA,
    '--stdio',
    '--no-children',
    '-g',
    'none',
    '--sort',
    'cpu,comm,sym',
  ];
  const { stdout } = await tryCommand(ENCLOSURE, report);
  const lines = stdout.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return `The whole machine: share, core, program, function (perf)\n${lines.slice(0, PERF_LINES).join('\n')}\n`;
}
