// A probe worker: runs inside a pod's (or node's) network namespace, serves the echoes that other workers talk to, and does what the
// lab asks over the IPC channel (protocol.ts). Ends with the channel.
import { createHash, randomBytes } from 'node:crypto';
import process from 'node:process';

import { type DatagramSocket, openDatagramSocket } from './datagram-socket.ts';
import { type ProbeRun, startProbe } from './probe-run.ts';
import {
  DIGEST_PORT,
  ECHO_PORT,
  type RawDatagrams,
  type UdpAnswer,
  type WorkerMethod,
  type WorkerMethods,
  type WorkerReply,
  type WorkerRequest,
} from './protocol.ts';
import { startStreamServers, tcpEcho, tcpRoundTrips, transfer } from './streams.ts';

type Handlers = {
  readonly [Method in WorkerMethod]: (
    argument: WorkerMethods[Method][0],
  ) => Promise<WorkerMethods[Method][1]> | WorkerMethods[Method][1];
};

const probes: ProbeRun[] = [];

function probeOf(id: number): ProbeRun {
  const probe = probes[id];
  if (probe === undefined) throw new Error(`no probe ${id}`);
  return probe;
}

async function udpEcho(options: WorkerMethods['udpEcho'][0]): Promise<readonly UdpAnswer[]> {
  const waiting = { answer: (_datagram: Buffer): void => undefined };
  const socket = await openDatagramSocket(0, (datagram) => waiting.answer(datagram));
  const answers: UdpAnswer[] = [];
  try {
    for (const bytes of options.sizes) {
      const sent = randomBytes(bytes);
      const start = performance.now();
      const answer = await new Promise<Buffer | undefined>((resolve) => {
        const bound = setTimeout(() => resolve(undefined), options.boundMs);
        waiting.answer = (datagram) => {
          clearTimeout(bound);
          resolve(datagram);
        };
        socket.send(sent, ECHO_PORT, options.target).catch(() => resolve(undefined));
      });
      if (answer === undefined) continue;
      answers.push({ bytes, roundTripMs: performance.now() - start, intact: answer.equals(sent) });
    }
  } finally {
    await socket.close();
  }
  return answers;
}

async function sendRaw({ address, port, datagrams }: RawDatagrams): Promise<number> {
  const socket = await openDatagramSocket(0, () => undefined);
  for (const text of datagrams) await socket.send(Buffer.from(text, 'base64'), port, address);
  await socket.close();
  return datagrams.length;
}

const inboxes = new Map<number, string[]>();

async function openInbox(port: number): Promise<null> {
  const datagrams: string[] = [];
  await openDatagramSocket(port, (datagram) => datagrams.push(datagram.toString('base64')));
  inboxes.set(port, datagrams);
  return null;
}

const handlers: Handlers = {
  startProbe: async (options) => probes.push(await startProbe(options)) - 1,
  markProbe: (id) => probeOf(id).mark(),
  answeredProbe: (id) => probeOf(id).answered(),
  finishProbe: async ({ id, boundMs }) => {
    await probeOf(id).finish(boundMs);
    return probeOf(id).mark();
  },
  reportProbe: ({ id, from, to }) => probeOf(id).report(from, to),
  udpEcho,
  tcpEcho,
  tcpRoundTrips,
  transfer,
  sweepEdge: async (sweep) => (await import('./edge.ts')).sweepEdge(sweep), // few need the C library
  sendRaw,
  openInbox,
  readInbox: (port) => inboxes.get(port) ?? [],
};

const reply = (message: WorkerReply): void => {
  process.send?.(message);
};

async function answer({ id, method, argument }: WorkerRequest): Promise<void> {
  try {
    const handle = handlers[method] as (argument: unknown) => unknown; // as: the lab's side is typed by the same table
    reply({ id, result: await handle(argument) });
  } catch (error) {
    reply({ id, error: error instanceof Error ? error.message : String(error) });
  }
}

const echo: DatagramSocket = await openDatagramSocket(ECHO_PORT, (datagram, from) => {
  echo.send(datagram, from.port, from.address).catch(() => undefined); // the prober counts what does not come back
});
await startStreamServers();
const digests: DatagramSocket = await openDatagramSocket(DIGEST_PORT, (datagram, from) => {
  const digest = Buffer.from(createHash('sha256').update(datagram).digest('hex'));
  digests.send(digest, from.port, from.address).catch(() => undefined); // the prober counts what does not come back
});
process.on('disconnect', () => process.exit(0));
process.on('message', (message) => void answer(message as WorkerRequest)); // as: only the lab writes to this channel
reply({ ready: true });
