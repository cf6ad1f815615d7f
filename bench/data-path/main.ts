// `npm run bench`: the data path's benchmark. Builds every side (side.ts), measures them in turns (measures.ts), prints medians and the
// ratios that Weft is held to (goals.ts); asserts nothing. Whoever runs it must be alone on the machine. `-- --help` lists the flags.
import { existsSync, writeFileSync } from 'node:fs';
import { constants, setPriority } from 'node:os';
import process from 'node:process';

import { enterEnclosure, isEnclosed } from '../../test/lab/enclosure.ts';
import { type Lab, withLab } from '../../test/lab/lab.ts';
import { busyShare } from './accounting.ts';
import { WIREGUARD_PROGRAM, buildWireguard, compile } from './compiled.ts';
import { startServer } from './load-program.ts';
import { makeFurnishedLimit } from './furnished-limit.ts';
import { formatMachine, readMachineFacts } from './machine.ts';
import { MEASURES } from './measures.ts';
import { type BenchOptions, HELP, parseOptions } from './options.ts';
import { drawPlot } from './plot.ts';
import { profile } from './profile.ts';
import { formatFigures, formatLimits, formatRatios, formatWires } from './report.ts';
import { type Results, createResults } from './results.ts';
import type { Side, SideName } from './side.ts';
import { makeWeft } from './weft-side.ts';
import { lookAtWires, setWire, steerReceiving } from './wire.ts';
import { makeLimit, makeNone, makeVxlan, makeWireguard } from './yardsticks.ts';

const MOST_BUSY = 0.03;

const say = (text: string): void => void process.stdout.write(`${text}\n`);

const makers: Readonly<Record<SideName, (lab: Lab, options: BenchOptions) => Promise<Side>>> = {
  weft: (lab, { crowd }) => makeWeft(lab, { crowd }),
  limit: makeLimit,
  furnished: makeFurnishedLimit,
  vxlan: makeVxlan,
  wireguard: (lab) => makeWireguard(lab, WIREGUARD_PROGRAM),
  none: makeNone,
};

/** Runs `act` with all sides in a lab, and ends them. */
async function withSides<T>(options: BenchOptions, act: (sides: readonly Side[]) => Promise<T>): Promise<T> {
  return withLab({}, async (lab) => {
    const sides: Side[] = [];
    const undo: (() => Promise<void>)[] = [];
    try {
      for (const name of options.sides) {
        const side = await makers[name](lab, options);
        undo.unshift(side.close);
        if (options.steered) await steerReceiving(side);
        const server = await startServer(side);
        undo.unshift(() => server.kill());
        sides.push(side);
      }
      return await act(sides);
    } finally {
      for (const step of undo) await step();
    }
  });
}

async function measureAll(sides: readonly Side[], options: BenchOptions): Promise<Results> {
  const measures = MEASURES.filter(({ name }) => options.measures.includes(name));
  const results = createResults(
    measures,
    sides.map(({ name }) => name),
  );
  const wires = new Set(measures.filter(({ name }) => name.startsWith('tcp')).map(({ wire }) => wire));
  say(formatWires(await lookAtWires(sides, [...wires])));
  for (let round = 0; round < options.rounds; round += 1) {
    for (const measure of measures) {
      // Every other round the other way round: no side always comes after the same one.
      for (const side of round % 2 === 0 ? sides : sides.toReversed()) {
        await setWire(side, measure.wire);
        const before = results.samples(side.name, measure.name);
        results.add(side.name, measure.name, await measure.take(side, { seconds: options.seconds, before }));
      }
    }
    process.stderr.write(`round ${round + 1} of ${options.rounds}\n`);
  }
  return results;
}

async function run(options: BenchOptions): Promise<void> {
  const machine = await readMachineFacts();
  const caption = formatMachine(machine);
  say(caption);
  await warnOfOthers();
  if (options.urgent) setPriority(constants.priority.PRIORITY_HIGHEST); // what is started from here on inherits it
  await compile();
  if (options.profile) {
    await profile(options.crowd, say);
    return;
  }
  const results = await withSides(options, (sides) => measureAll(sides, options));
  say(`\n${formatFigures(results)}`);
  say(formatRatios(results));
  say(formatLimits(results));
  if (options.svg !== undefined) writeFileSync(options.svg, drawPlot(results, caption));
  if (options.json !== undefined) {
    const samples = Object.fromEntries(
      results.measures.map(({ name }) => [
        name,
        Object.fromEntries(results.sides.map((side) => [side, results.samples(side, name)])),
      ]),
    );
    writeFileSync(options.json, `${JSON.stringify({ machine, options, samples }, undefined, 2)}\n`);
  }
}

async function warnOfOthers(): Promise<void> {
  const share = await busyShare();
  if (share < MOST_BUSY) return;
  say(
    `The processors were ${(share * 100).toFixed(0)} % busy before the start: figures are worth little beside others' work`,
  );
}

/** Without Go there is no wireguard-go, and the rest is measured all the same. */
async function prepareWireguard(options: BenchOptions): Promise<void> {
  if (!options.sides.includes('wireguard')) return;
  await buildWireguard().catch((error: unknown) => {
    const reason = error instanceof Error ? error.message : String(error);
    process.stderr.write(`Without wireguard-go: ${reason}\n`);
  });
}

const parsed = parseOptions(process.argv.slice(2));
if ('help' in parsed) {
  say(HELP);
} else if ('refused' in parsed) {
  process.stderr.write(`${parsed.refused}\n`);
  process.exitCode = 2;
} else {
  if (!isEnclosed()) await prepareWireguard(parsed.run);
  await enterEnclosure();
  const sides = parsed.run.sides.filter((side) => side !== 'wireguard' || existsSync(WIREGUARD_PROGRAM));
  await run({ ...parsed.run, sides });
}
