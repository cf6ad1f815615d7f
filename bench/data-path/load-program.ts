// The load program (load/) in the pods of a side: its server, which runs for as long as the side is there, and its clients' answers.
import { runCommand } from '../../test/lab/command.ts';
import { until } from '../../test/lab/condition.ts';
import { LAB_DIRECTORY } from '../../test/lab/enclosure.ts';
import { type LabProcess, startProcess } from '../../test/lab/process.ts';
import { LOAD_PROGRAM } from './compiled.ts';
import type { Side } from './side.ts';

const PORT = 7000;

export interface StreamAnswer {
  readonly gbps: number;
  /** Of its whole life. */
  readonly bytes: number;
}

export interface KneeAnswer {
  /** Packets per second, at the highest rate with at most 1 % loss. */
  readonly offered: number;
  readonly delivered: number;
  readonly loss: number;
}

/** Microseconds. */
export interface RoundTripAnswer {
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly count: number;
  readonly lost: number;
}

export interface ConnectAnswer {
  readonly perSecond: number;
  readonly failed: number;
}

export async function startServer({ name, to }: Side): Promise<LabProcess> {
  const logFile = `${LAB_DIRECTORY}/${name}.load.log`;
  const server = startProcess({ place: to.place, command: [LOAD_PROGRAM, 'serve', String(PORT)], logFile });
  const listening = ['sh', '-c', `ss -Hltn sport = :${PORT} | grep -q .`];
  await until(async () => (await to.tryExec(listening)).status === 0, {
    what: `the load's server of "${name}"`,
  });
  return server;
}

export const runStreams = (
  side: Side,
  { streams, seconds }: { streams: number; seconds: number },
): Promise<StreamAnswer> => run(side, 'stream', [streams, seconds]);

export interface KneeOptions {
  readonly bytes: number;
  /** Of one trial; there are ten or so. */
  readonly seconds: number;
  /** Packets per second, to search from. */
  readonly from: number;
}

export const findKnee = (side: Side, { bytes, seconds, from }: KneeOptions): Promise<KneeAnswer> =>
  run(side, 'knee', [bytes, seconds, from]);

/** `from` is the rate. */
export const sendAtRate = (side: Side, { bytes, seconds, from }: KneeOptions): Promise<KneeAnswer> =>
  run(side, 'rate', [bytes, seconds, from]);

export const measureRoundTrips = (side: Side, seconds: number): Promise<RoundTripAnswer> =>
  run(side, 'round-trip', [seconds]);

export const countConnections = (
  side: Side,
  { processes, seconds }: { processes: number; seconds: number },
): Promise<ConnectAnswer> => run(side, 'connect', [processes, seconds]);

async function run<T>({ from, to }: Side, command: string, words: readonly number[]): Promise<T> {
  const line = [LOAD_PROGRAM, command, to.address, String(PORT), ...words.map(String)];
  return JSON.parse(await runCommand(from.place, line)) as T; // as: what our own program prints, one shape for each command
}
