// Runs in a pod (tool-pods.ts): `udp|tcp SERVER:PORT A|PTR NAME…`. Asks the server for each name over that very transport (RFC 1035)
// and prints a line "NAME ANSWER…" with the answers sorted; "NAME !CODE" when the server refuses, no line when no answer comes in 5 s.
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';
import process from 'node:process';

const TYPES: Readonly<Record<string, number>> = { A: 1, PTR: 12 };
const HEADER_BYTES = 12;

const encodeName = (name: string): Buffer =>
  Buffer.concat([
    ...name.split('.').map((label) => Buffer.concat([Buffer.of(label.length), Buffer.from(label)])),
    Buffer.of(0),
  ]);

function encodeQuery(id: number, { name, type }: { name: string; type: number }): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt16BE(id, 0);
  header.writeUInt16BE(0x0100, 2); // recursion desired
  header.writeUInt16BE(1, 4);
  return Buffer.concat([header, encodeName(name), Buffer.of(0, type, 0, 1)]);
}

/** The name at an offset, and where it ends; compressed ones are followed. */
function decodeName(message: Buffer, start: number): { readonly name: string; readonly end: number } {
  const labels: string[] = [];
  let end: number | undefined;
  for (let at = start; ;) {
    const length = message.readUInt8(at);
    if (length >= 0xc0) {
      end ??= at + 2;
      at = message.readUInt16BE(at) & 0x3fff;
    } else if (length === 0) {
      return { name: labels.join('.'), end: end ?? at + 1 };
    } else {
      labels.push(message.toString('latin1', at + 1, at + 1 + length));
      at += 1 + length;
    }
  }
}

function decodeAnswers(message: Buffer, type: number): readonly string[] {
  const code = message.readUInt16BE(2) & 0xf;
  if (code !== 0) return [`!${code}`];
  const answers: string[] = [];
  let at = decodeName(message, HEADER_BYTES).end + 4;
  for (let left = message.readUInt16BE(6); left > 0; left--) {
    at = decodeName(message, at).end;
    const data = at + 10;
    if (message.readUInt16BE(at) === type) {
      answers.push(
        type === TYPES['A'] ? message.subarray(data, data + 4).join('.') : decodeName(message, data).name,
      );
    }
    at = data + message.readUInt16BE(at + 8);
  }
  return answers.sort();
}

const signal = (): { readonly signal: AbortSignal } => ({ signal: AbortSignal.timeout(5000) });

async function exchangeUdp(
  query: Buffer,
  { address, port }: { address: string; port: number },
): Promise<Buffer> {
  const socket = createSocket('udp4');
  socket.connect(port, address);
  try {
    await once(socket, 'connect');
    socket.send(query);
    const [answer] = (await once(socket, 'message', signal())) as [Buffer]; // as: the event's contract
    return answer;
  } finally {
    socket.close();
  }
}

async function exchangeTcp(
  query: Buffer,
  { address, port }: { address: string; port: number },
): Promise<Buffer> {
  const socket = connect({ host: address, port, ...signal() });
  const length = Buffer.alloc(2);
  length.writeUInt16BE(query.length);
  socket.write(Buffer.concat([length, query]));
  let answer = Buffer.alloc(0);
  try {
    while (answer.length < 2 || answer.length < 2 + answer.readUInt16BE(0)) {
      const [chunk] = (await once(socket, 'data', signal())) as [Buffer]; // as: the event's contract
      answer = Buffer.concat([answer, chunk]);
    }
    return answer.subarray(2);
  } finally {
    socket.destroy();
  }
}

const [transport = '', server = '', typeName = '', ...names] = process.argv.slice(1);
const [address = '', port = ''] = server.split(':');
const exchange = transport === 'tcp' ? exchangeTcp : exchangeUdp;
const type = TYPES[typeName] ?? 0;
for (const [index, name] of names.entries()) {
  try {
    const answer = await exchange(encodeQuery(index + 1, { name, type }), { address, port: Number(port) });
    console.log([name, ...decodeAnswers(answer, type)].join(' '));
  } catch (error) {
    console.error(`${name}: ${String(error)}`);
  }
}
