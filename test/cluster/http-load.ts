// HTTP requests from outside the cluster, each on a connection of its own: one, or a loop of them at a steady pace.
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';

const BOUND_MS = 15_000;
const LANES = 4;
/** Between two requests of a lane: about a hundred a second in all. */
const PACE_MS = 40;

export interface HttpRequest {
  readonly address: string;
  readonly port: number;
  /** Of the header. */
  readonly host: string;
  readonly path: string;
}

export interface HttpAnswer {
  readonly status: number;
  readonly body: string;
}

/** Throws when no whole answer comes. */
export async function askHttp({ address, port, host, path }: HttpRequest): Promise<HttpAnswer> {
  const asked = request({
    host: address,
    port,
    path,
    headers: { host },
    agent: false,
    signal: AbortSignal.timeout(BOUND_MS),
  });
  asked.end();
  const [response] = (await once(asked, 'response')) as [IncomingMessage]; // as: the event's contract
  const body = (await response.toArray()).join('');
  return { status: response.statusCode ?? 0, body };
}

export interface LoopOptions<T extends HttpRequest> {
  /** Asked in turn. */
  readonly requests: readonly T[];
  readonly isRight: (answer: HttpAnswer, request: T) => boolean;
  /** Told how many have been asked. */
  readonly isDone: (count: number) => boolean;
}

export interface LoopResult {
  readonly count: number;
  /** What was asked and what came instead, when it came. */
  readonly wrong: readonly string[];
}

export async function askLoop<T extends HttpRequest>({
  requests,
  isRight,
  isDone,
}: LoopOptions<T>): Promise<LoopResult> {
  let count = 0;
  const wrong: string[] = [];
  const lane = async (): Promise<void> => {
    while (!isDone(count)) {
      const each = requests[count++ % requests.length];
      if (each === undefined) return;
      const at = new Date().toISOString();
      const asked = `${at} ${each.host}${each.path} at ${each.address}`;
      try {
        const answer = await askHttp(each);
        if (!isRight(answer, each)) wrong.push(`${asked}: ${answer.status} ${answer.body.trim()}`);
      } catch (error) {
        wrong.push(`${asked}: ${String(error)}`);
      }
      await pause(PACE_MS);
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  return { count, wrong };
}
