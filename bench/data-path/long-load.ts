// `npm run soak:load`: Weft alone under full load for ten minutes, 8 TCP streams and 64 B UDP beyond the knee in turns: what memory does, the
// longest pause of a data plane, and, in a minute more with V8's trace events on (which cost memory of their own), every garbage
// collection. Prints; asserts nothing. The argument is the seconds.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';

import { ENCLOSURE, runCommand } from '../../test/lab/command.ts';
import { enterEnclosure } from '../../test/lab/enclosure.ts';
import { type Lab, withLab } from '../../test/lab/lab.ts';
import { formatTable } from '../figures.ts';
import { memoryOf } from './accounting.ts';
import { compile } from './compiled.ts';
import { runStreams, sendAtRate, startServer } from './load-program.ts';
import type { Side } from './side.ts';
import { makeWeft } from './weft-side.ts';

const CROWD = 998;
const SECONDS = 600;
const SLICE_SECONDS = 10;
const BEYOND_KNEE = 400_000;
const TRACED_SECONDS = 60;
const TRACES = '/run/traces';
const TRACE_OPTIONS = `--trace-event-categories=v8 --trace-event-file-pattern=${TRACES}/\${pid}-\${rotation}.json`;

interface Slice {
  readonly tcpGbps: number;
  readonly udpPerSecond: number;
}

/** Half its time each. */
async function loadOnce(side: Side): Promise<Slice> {
  const seconds = SLICE_SECONDS / 2;
  const { gbps } = await runStreams(side, { streams: 8, seconds });
  const { delivered } = await sendAtRate(side, { bytes: 64, seconds, from: BEYOND_KNEE });
  return { tcpGbps: gbps, udpPerSecond: delivered };
}

/** Of each node's data plane, in the last one to two minutes. Seconds. */
async function longestPauses(lab: Lab): Promise<readonly number[]> {
  return Promise.all(
    lab.nodes.map(async ({ agent }) => {
      const values = (await agent.metrics()).matchAll(
        /^weft_dataplane_longest_pause_seconds\{[^}]*\} (\S+)$/gm,
      );
      return Math.max(...[...values].map(([, text]) => Number(text)));
    }),
  );
}

async function withLoadedLab<T>(
  environment: Readonly<Record<string, string>>,
  act: (lab: Lab, side: Side) => Promise<T>,
): Promise<T> {
  return withLab({}, async (lab) => {
    const side = await makeWeft(lab, { crowd: CROWD, environment });
    const server = await startServer(side);
    try {
      return await act(lab, side);
    } finally {
      await server.kill();
    }
  });
}

async function watchMemory(lab: Lab, side: Side, seconds: number): Promise<string> {
  const rows: string[][] = [];
  for (let done = 0; done < seconds; done += SLICE_SECONDS) {
    const { tcpGbps, udpPerSecond } = await loadOnce(side);
    const memory = side.programs().map((programs) => memoryOf(programs).toFixed(1));
    const pauses = (await longestPauses(lab)).map((pause) => (pause * 1000).toFixed(1));
    const at = String(done + SLICE_SECONDS);
    rows.push([at, tcpGbps.toFixed(2), udpPerSecond.toFixed(0), ...memory, ...pauses]);
    process.stderr.write(`${rows.at(-1)!.join('  ')}\n`); // !: just pushed
  }
  const nodes = ['sender', 'receiver'];
  return formatTable([
    [
      'seconds',
      'Gbit/s',
      'packets/s',
      ...nodes.map((node) => `${node} MB`),
      ...nodes.map((node) => `${node} pause, ms`),
    ],
    ...rows,
  ]);
}

/** Of V8's trace events, category v8. */
interface TraceEvent {
  readonly name: string;
  readonly ph: string;
  /** µs. */
  readonly ts: number;
  readonly args: { readonly usedHeapSizeAfter?: number };
}

interface Collection {
  readonly kind: string;
  readonly endUs: number;
  readonly us: number;
  readonly heapBytes: number;
}

function collectionsOf(pid: number): readonly Collection[] {
  const events = readdirSync(TRACES)
    .filter((name) => name.startsWith(`${pid}-`))
    .flatMap((name) => {
      const text = readFileSync(join(TRACES, name), 'utf8');
      return (JSON.parse(text) as { traceEvents: TraceEvent[] }).traceEvents; // as: the trace event format
    })
    .filter(({ name }) => name === 'MinorGC' || name === 'MajorGC')
    .toSorted((one, other) => one.ts - other.ts);
  return events.flatMap(({ name, ph, ts, args }, at) => {
    const begin = events[at - 1];
    if (ph !== 'E' || begin?.ph !== 'B') return [];
    return [{ kind: name, endUs: ts, us: ts - begin.ts, heapBytes: args.usedHeapSizeAfter ?? Number.NaN }];
  });
}

const megabytes = (bytes: number | undefined): string => ((bytes ?? Number.NaN) / 1e6).toFixed(2);

async function traceCollections(lab: Lab, side: Side, seconds: number): Promise<string> {
  for (let done = 0; done < seconds; done += SLICE_SECONDS) await loadOnce(side);
  const roles = lab.nodes.flatMap(({ name, agent }) =>
    (['dataplane', 'control'] as const).map((role) => ({
      title: `${role} of ${name}`,
      pid: agent.pidOf(role),
    })),
  );
  await Promise.all(lab.nodes.map(({ agent }) => agent.stop())); // the trace is whole when its process has ended
  const rows = roles.map(({ title, pid }) => {
    const all = collectionsOf(pid);
    // The second half, compiled and settled; agents end with the load.
    const fromUs = (all.at(-1)?.endUs ?? 0) - (seconds * 1e6) / 2;
    const late = all.filter(({ endUs }) => endUs >= fromUs);
    const count = (kind: string): string => String(late.filter((each) => each.kind === kind).length);
    return [
      title,
      count('MinorGC'),
      count('MajorGC'),
      (Math.max(0, ...late.map(({ us }) => us)) / 1000).toFixed(2),
      megabytes(late.at(0)?.heapBytes),
      megabytes(late.at(-1)?.heapBytes),
    ];
  });
  return formatTable([
    [
      `collections, last ${seconds / 2} s`,
      'minor',
      'major',
      'longest, ms',
      'heap after the first, MB',
      'after the last',
    ],
    ...rows,
  ]);
}

const seconds = Number(process.argv[2] ?? SECONDS);
if (!Number.isSafeInteger(seconds) || seconds < SLICE_SECONDS) {
  process.stderr.write(`"${process.argv[2]}" is no number of seconds from ${SLICE_SECONDS} on\n`);
  process.exitCode = 2;
} else {
  await enterEnclosure();
  await compile();
  process.stdout.write(`${await withLoadedLab({}, (lab, side) => watchMemory(lab, side, seconds))}\n`);
  await runCommand(ENCLOSURE, ['mkdir', '-p', TRACES]);
  const environment = { NODE_OPTIONS: TRACE_OPTIONS };
  const traced = Math.min(seconds, TRACED_SECONDS);
  process.stdout.write(
    `${await withLoadedLab(environment, (lab, side) => traceCollections(lab, side, traced))}\n`,
  );
}
