// `npm run bench`: first figures of the data path beside the kernel's VXLAN device, in turns in one run, so that the machine's load
// hits both alike. Prints absolute figures and ratios; asserts nothing. Topology: two nodes with the agent, two kernel nodes.
import process from 'node:process';

import { enterEnclosure } from '../test/lab/enclosure.ts';
import { type Lab, withLab } from '../test/lab/lab.ts';
import type { Pod } from '../test/lab/pod.ts';
import { measureThroughput } from '../test/lab/throughput.ts';

await enterEnclosure();

const TURNS = 3;
const STREAM_SECONDS = 2;
const ROUND_TRIPS = 3000;
const PINGS = 500;

interface Side {
  readonly name: string;
  readonly from: Pod;
  readonly to: Pod;
}

interface Measure {
  readonly name: string;
  readonly unit: string;
  readonly digits: number;
  readonly take: (side: Side) => Promise<number>;
}

async function makeSides(lab: Lab): Promise<readonly [weft: Side, kernel: Side]> {
  const [first, second] = await lab.addNodes(['node-1', 'node-2']);
  if (first === undefined || second === undefined) throw new Error('No nodes');
  const left = await lab.addKernelNode('kernel-1', { block: '10.47.254.0/26', register: false });
  const right = await lab.addKernelNode('kernel-2', { block: '10.47.254.64/26', register: false });
  await Promise.all([left.learn(right), right.learn(left)]);
  return [
    { name: 'weft', from: await first.addPod('left'), to: await second.addPod('right') },
    { name: 'kernel', from: await left.addPod('k-left'), to: await right.addPod('k-right') },
  ];
}

/** Adaptive ping: as fast as answers come, no process wakes but the sender's. Average, microseconds. */
async function icmpRoundTrip({ from, to }: Side): Promise<number> {
  const output = await from.exec(['ping', '-n', '-q', '-A', '-c', String(PINGS), '-W', '2', to.address]);
  return Number(/= [\d.]+\/([\d.]+)\//.exec(output)?.[1]) * 1000;
}

const measuresOf = (lab: Lab): readonly Measure[] => {
  const tcpRoundTrip =
    (share: 'p50' | 'p99') =>
    async ({ from, to }: Side): Promise<number> => {
      await lab.endpoint(to);
      return (await (await lab.endpoint(from)).tcpRoundTrips(to.address, ROUND_TRIPS))[share] * 1000;
    };
  return [
    {
      name: 'TCP, one stream (iperf3)',
      unit: 'Gbit/s',
      digits: 2,
      take: ({ from, to }) => measureThroughput({ from, to, seconds: STREAM_SECONDS }),
    },
    { name: 'ICMP round trip, average (ping -A)', unit: 'µs', digits: 0, take: icmpRoundTrip },
    { name: 'TCP 1-byte round trip p50 (Node to Node)', unit: 'µs', digits: 0, take: tcpRoundTrip('p50') },
    { name: 'TCP 1-byte round trip p99 (Node to Node)', unit: 'µs', digits: 0, take: tcpRoundTrip('p99') },
  ];
};

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

await withLab({}, async (lab) => {
  const [weft, kernel] = await makeSides(lab);
  process.stdout.write(
    `${'median of 3 turns'.padEnd(42)} ${'weft'.padStart(9)} ${'kernel'.padStart(9)}   ratio\n`,
  );
  for (const { name, unit, digits, take } of measuresOf(lab)) {
    const ours: number[] = [];
    const theirs: number[] = [];
    for (let turn = 0; turn < TURNS; turn += 1) {
      theirs.push(await take(kernel));
      ours.push(await take(weft));
    }
    const cell = (values: readonly number[]): string => median(values).toFixed(digits).padStart(9);
    const ratio = (median(ours) / median(theirs)).toFixed(2);
    process.stdout.write(`${name.padEnd(42)} ${cell(ours)} ${cell(theirs)}   ${ratio}  ${unit}\n`);
  }
});
