// TCP between pods: an echo, a sink that answers with the hash of what it got, and their clients.
import { createCipheriv, createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type Server, type Socket, createConnection, createServer } from 'node:net';

import { ECHO_PORT, SINK_PORT, type Transfer } from './protocol.ts';

const CHUNK_BYTES = 256 * 1024;

const listen = (server: Server, port: number): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '0.0.0.0', () => resolve());
  });

/** A peer that resets is the client's to report. */
const ignoreReset = (socket: Socket): void => {
  socket.on('error', () => undefined);
};

export async function startStreamServers(): Promise<void> {
  await listen(
    createServer({ noDelay: true }, (socket) => {
      ignoreReset(socket);
      socket.pipe(socket);
    }),
    ECHO_PORT,
  );
  await listen(
    createServer({ allowHalfOpen: true }, (socket) => {
      ignoreReset(socket);
      const hash = createHash('sha256');
      socket.on('data', (chunk) => hash.update(chunk));
      socket.on('end', () => socket.end(hash.digest('hex')));
    }),
    SINK_PORT,
  );
}

function connect(
  target: string,
  port: number,
  boundMs: number,
): Promise<{ socket: Socket; bound: NodeJS.Timeout }> {
  const socket = createConnection({ host: target, port, allowHalfOpen: true });
  const bound = setTimeout(() => {
    socket.destroy(new Error(`no end after ${boundMs} ms with ${target}:${port}`));
  }, boundMs);
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve({ socket, bound });
    });
  });
}

/** Resolves to what the far side sends until its end. */
const readAll = (socket: Socket): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.once('end', () => resolve(Buffer.concat(chunks)));
    socket.once('error', reject);
  });

export async function tcpEcho(options: { target: string; bytes: number; boundMs: number }): Promise<number> {
  const start = performance.now();
  const { socket, bound } = await connect(options.target, ECHO_PORT, options.boundMs);
  try {
    const sent = randomBytes(options.bytes);
    const answer = readAll(socket);
    socket.end(sent);
    if (!(await answer).equals(sent)) throw new Error(`TCP echo of ${options.target} sent back other bytes`);
    return performance.now() - start;
  } finally {
    clearTimeout(bound);
    socket.destroy();
  }
}

/** Sends pseudo-random bytes and compares nothing: both hashes are in the result. */
export async function transfer(options: {
  target: string;
  bytes: number;
  boundMs: number;
}): Promise<Transfer> {
  const start = performance.now();
  const { socket, bound } = await connect(options.target, SINK_PORT, options.boundMs);
  try {
    const hash = createHash('sha256');
    const answer = readAll(socket);
    const stream = createCipheriv('aes-128-ctr', randomBytes(16), randomBytes(16));
    const zeros = Buffer.alloc(CHUNK_BYTES);
    for (let left = options.bytes; left > 0; left -= CHUNK_BYTES) {
      const chunk = stream.update(zeros.subarray(0, Math.min(left, CHUNK_BYTES)));
      hash.update(chunk);
      if (!socket.write(chunk)) await once(socket, 'drain');
    }
    socket.end();
    const receivedHash = (await answer).toString();
    return {
      bytes: options.bytes,
      sentHash: hash.digest('hex'),
      receivedHash,
      seconds: (performance.now() - start) / 1000,
    };
  } finally {
    clearTimeout(bound);
    socket.destroy();
  }
}

export async function tcpRoundTrips(options: {
  target: string;
  count: number;
  boundMs: number;
}): Promise<{ p50: number; p99: number }> {
  const { socket, bound } = await connect(options.target, ECHO_PORT, options.boundMs);
  try {
    socket.setNoDelay(true);
    const times: number[] = [];
    const byte = Buffer.from('x');
    await new Promise<void>((resolve, reject) => {
      let sentAt = performance.now();
      socket.once('error', reject);
      socket.on('data', () => {
        times.push(performance.now() - sentAt);
        if (times.length >= options.count) return resolve();
        sentAt = performance.now();
        socket.write(byte);
      });
      socket.write(byte);
    });
    times.sort((a, b) => a - b);
    const quantile = (share: number): number => times[Math.floor(times.length * share)] ?? Number.NaN;
    return { p50: quantile(0.5), p99: quantile(0.99) };
  } finally {
    clearTimeout(bound);
    socket.destroy();
  }
}
