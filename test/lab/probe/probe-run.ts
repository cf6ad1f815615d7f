// A running probe: numbered UDP datagrams at a fixed rate to a pod's echo, each answer matched to its number. Pure bookkeeping apart
// from the socket; times are milliseconds of this process's monotonic clock.
//
//   datagram: | session (4) | sequence number (4) | padding |
import { type DatagramSocket, openDatagramSocket } from './datagram-socket.ts';
import { ECHO_PORT, type ProbeReport } from './protocol.ts';

const HEADER_BYTES = 8;

export interface ProbeRun {
  /** The number of the next datagram: a mark between what was sent before and after. */
  readonly mark: () => number;
  /** How many answers have come, duplicates not counted. */
  readonly answered: () => number;
  /** Stops sending and waits for outstanding answers, at most `boundMs`. */
  readonly finish: (boundMs: number) => Promise<void>;
  readonly report: (from: number, to: number) => ProbeReport;
}

export async function startProbe(options: {
  readonly target: string;
  readonly perSecond: number;
  readonly bytes: number;
}): Promise<ProbeRun> {
  const session = Math.floor(Math.random() * 2 ** 32);
  const sentAt: number[] = [];
  const answeredAt: number[] = [];
  const duplicates = new Map<number, number>();
  let answers = 0;
  let sendErrors = 0;
  const socket: DatagramSocket = await openDatagramSocket(0, (datagram) => {
    if (datagram.length < HEADER_BYTES || datagram.readUInt32BE(0) !== session) return;
    const sequence = datagram.readUInt32BE(4);
    if (answeredAt[sequence] === undefined) {
      answeredAt[sequence] = performance.now();
      answers += 1;
    } else {
      duplicates.set(sequence, (duplicates.get(sequence) ?? 0) + 1);
    }
  });
  const start = performance.now();
  const timer = setInterval(() => {
    // All that are due: the timer is late when the machine is busy, the rate holds on average.
    const due = ((performance.now() - start) / 1000) * options.perSecond;
    while (sentAt.length < due) {
      const datagram = Buffer.alloc(Math.max(HEADER_BYTES, options.bytes));
      datagram.writeUInt32BE(session, 0);
      datagram.writeUInt32BE(sentAt.length, 4);
      sentAt.push(performance.now());
      socket.send(datagram, ECHO_PORT, options.target).catch(() => (sendErrors += 1));
    }
  }, 1);
  return {
    mark: () => sentAt.length,
    answered: () => answers,
    finish: async (boundMs) => {
      clearInterval(timer);
      const end = performance.now() + boundMs;
      while (answers < sentAt.length && performance.now() < end) {
        await new Promise((resolve) => {
          setTimeout(resolve, 5);
        });
      }
      await socket.close();
    },
    report: (from, to) =>
      summarise({ sentAt, answeredAt, duplicates, sendErrors, from, to: Math.min(to, sentAt.length) }),
  };
}

interface Record {
  readonly sentAt: readonly number[];
  readonly answeredAt: readonly (number | undefined)[];
  readonly duplicates: ReadonlyMap<number, number>;
  readonly sendErrors: number;
  readonly from: number;
  readonly to: number;
}

function summarise({ sentAt, answeredAt, duplicates, sendErrors, from, to }: Record): ProbeReport {
  const roundTrips: number[] = [];
  const arrivals: number[] = [];
  let duplicated = 0;
  let reordered = 0;
  let latest = 0;
  for (let sequence = from; sequence < to; sequence += 1) {
    const arrival = answeredAt[sequence];
    duplicated += duplicates.get(sequence) ?? 0;
    if (arrival === undefined) continue;
    if (arrival < latest) reordered += 1;
    latest = Math.max(latest, arrival);
    arrivals.push(arrival);
    roundTrips.push(arrival - (sentAt[sequence] ?? arrival));
  }
  roundTrips.sort((a, b) => a - b);
  arrivals.sort((a, b) => a - b);
  const quantile = (share: number): number =>
    roundTrips[Math.min(roundTrips.length - 1, Math.floor(roundTrips.length * share))] ?? Number.NaN;
  return {
    sent: to - from,
    lost: to - from - arrivals.length,
    duplicates: duplicated,
    reordered,
    sendErrors,
    roundTripMs: { p50: quantile(0.5), p99: quantile(0.99), max: quantile(1) },
    longestGapMs: arrivals.reduce((longest, at, index) => {
      return index === 0 ? 0 : Math.max(longest, at - (arrivals[index - 1] ?? at));
    }, 0),
  };
}
