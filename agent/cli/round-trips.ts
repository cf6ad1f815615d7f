// Repeated round trips to one address, and their count as ping tells it. The socket blocks for short slices only, so that Ctrl-C is heard.
import { connect } from 'node:net';
import { setImmediate as breathe } from 'node:timers/promises';

import { type Ipv4, formatIpv4 } from '../../proto/address.ts';
import { openEchoSocket } from '../linux/echo-socket.ts';
import { codeOf } from '../operation-error.ts';
import { monotonicMs } from '../linux/monotonic-clock.ts';

const SLICE_MS = 20;
/** Without an answer for so long a request counts as lost. */
export const PATIENCE_MS = 1000;

export interface RoundTrips {
  /** What answers: "icmp", "udp" (a closed port's refusal), "tcp PORT". */
  readonly means: string;
  /** Milliseconds; an errno's name that the path reported; undefined: lost. */
  once(signal: AbortSignal): Promise<number | string | undefined>;
  close(): void;
}

/** Throws OperationError (errno's name). */
export function openRoundTrips(address: Ipv4, options: { readonly payloadBytes: number }): RoundTrips {
  const socket = openEchoSocket(address);
  let sequence = 0;
  return {
    means: socket.means,
    async once(signal) {
      sequence += 1;
      const sentMs = monotonicMs();
      const failure = socket.send(sequence, options.payloadBytes);
      if (failure !== undefined) return failure;
      while (monotonicMs() - sentMs < PATIENCE_MS && !signal.aborted) {
        const answer = socket.receive(sequence, SLICE_MS);
        if (answer === 'answered') return monotonicMs() - sentMs;
        if (answer !== undefined) return answer.code;
        await breathe();
      }
      return undefined;
    },
    close: () => socket.close(),
  };
}

/** A connection that is taken or refused: both are an answer. */
export function tcpRoundTrips(address: Ipv4, port: number): RoundTrips {
  return {
    means: `tcp ${port}`,
    once(signal) {
      const { promise, resolve } = Promise.withResolvers<number | string | undefined>();
      const sentMs = monotonicMs();
      const socket = connect({ host: formatIpv4(address), port });
      const end = (result: number | string | undefined): void => {
        socket.destroy();
        resolve(result);
      };
      socket.setTimeout(PATIENCE_MS, () => end(undefined));
      socket.once('connect', () => end(monotonicMs() - sentMs));
      socket.once('error', (error) =>
        end(codeOf(error) === 'ECONNREFUSED' ? monotonicMs() - sentMs : codeOf(error)),
      );
      signal.addEventListener('abort', () => end(undefined), { once: true });
      return promise;
    },
    close: () => undefined,
  };
}

export interface Tally {
  add(result: number | string | undefined): void;
  readonly sent: number;
  readonly answered: number;
  /** "5 sent, 4 answered, 20% lost, round trip min/avg/max 0.21/0.30/0.55 ms" */
  words(): string;
}

export function createTally(): Tally {
  const times: number[] = [];
  let sent = 0;
  const codes = new Map<string, number>();
  return {
    add(result) {
      sent += 1;
      if (typeof result === 'number') times.push(result);
      else if (result !== undefined) codes.set(result, (codes.get(result) ?? 0) + 1);
    },
    get sent() {
      return sent;
    },
    get answered() {
      return times.length;
    },
    words() {
      const lost = sent === 0 ? 0 : Math.round(((sent - times.length) / sent) * 100);
      const average = times.reduce((sum, time) => sum + time, 0) / Math.max(1, times.length);
      const tripWords =
        times.length === 0
          ? ''
          : `, round trip min/avg/max ${[Math.min(...times), average, Math.max(...times)].map((time) => time.toFixed(2)).join('/')} ms`;
      const failures = [...codes].map(([code, count]) => `, ${count} × ${code}`).join('');
      return `${sent} sent, ${times.length} answered, ${lost}% lost${tripWords}${failures}`;
    },
  };
}
