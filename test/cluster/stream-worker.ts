// One end of a long-lived TCP stream (stream.ts): runs inside a pod's network namespace, writes numbered words at a steady pace and
// checks the numbers of those that it reads. `listen PORT` or `connect ADDRESS PORT`; says how it stands over the IPC channel when asked,
// and ends with that channel. Invariant: it never connects a second time.
//
//   both directions: 0, 1, 2, … as 32-bit words, big-endian
import { type Socket, createConnection, createServer } from 'node:net';
import process from 'node:process';

import type { StreamReply, StreamRequest, StreamState } from './stream.ts';

const WORD_BYTES = 4;
const WORDS_PER_TURN = 256;
const TURN_MS = 10;
/** A stalled connection is not fed without end. */
const UNSENT_LIMIT_BYTES = 4 * 1024 * 1024;

let sent = 0;
let received = 0;
let ended = false;
let broken: string | undefined;
let rest: Buffer = Buffer.alloc(0);
let lastArrival: number | undefined;
let longestPauseMs = 0;

const breakWith = (reason: string): void => {
  broken ??= `after ${received} words: ${reason}`;
};

function check(chunk: Buffer): void {
  const now = performance.now();
  longestPauseMs = Math.max(longestPauseMs, now - (lastArrival ?? now));
  lastArrival = now;
  const bytes = Buffer.concat([rest, chunk]);
  const whole = bytes.length - (bytes.length % WORD_BYTES);
  for (let at = 0; at < whole; at += WORD_BYTES) {
    const word = bytes.readUInt32BE(at);
    if (word !== received) breakWith(`read ${word} where ${received} was to come`);
    received += 1;
  }
  rest = bytes.subarray(whole);
}

function write(socket: Socket): void {
  if (socket.writableLength > UNSENT_LIMIT_BYTES || !socket.writable) return;
  const words = Buffer.alloc(WORDS_PER_TURN * WORD_BYTES);
  for (let at = 0; at < words.length; at += WORD_BYTES) words.writeUInt32BE(sent++, at);
  socket.write(words);
}

function run(socket: Socket): void {
  const turns = setInterval(() => write(socket), TURN_MS);
  socket.on('data', check);
  socket.on('error', (error) => breakWith(error.message));
  socket.on('end', () => {
    ended = true;
    if (rest.length > 0) breakWith(`the end came inside of a word`);
  });
  socket.on('close', () => clearInterval(turns));
  process.on('message', (message) => {
    const { finish } = message as StreamRequest; // as: only stream.ts writes to this channel
    if (finish !== true || socket.writableEnded) return;
    clearInterval(turns);
    socket.end();
  });
}

const tell = (reply: StreamReply): void => {
  process.send?.(reply);
};

const state = (): StreamState => ({
  sent,
  received,
  ended,
  longestPauseMs,
  ...(broken === undefined ? {} : { broken }),
});

const [mode, ...words] = process.argv.slice(2);
if (mode === 'listen') {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    server.close(); // one connection, ever
    run(socket);
  });
  server.listen(Number(words[0]), '0.0.0.0', () => tell({ ready: true }));
} else {
  const [host = '', port = ''] = words;
  const socket = createConnection({ host, port: Number(port), allowHalfOpen: true, noDelay: true }, () =>
    tell({ ready: true }),
  );
  run(socket);
}
process.on('disconnect', () => process.exit(0));
process.on('message', (message) => {
  const { id } = message as StreamRequest; // as: only stream.ts writes to this channel
  tell({ id, state: state() });
});
