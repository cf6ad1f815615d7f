// Runs in a pod (tool-pods.ts): `BYTES ADDRESS:PORT…`. Sends a datagram of so many bytes to each, each from a socket of its own, and
// prints a line "ADDRESS:PORT NAME SEEN LENGTH" for an answer of the same length; one that does not come in 5 s has no line.
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import process from 'node:process';

const [bytes = '', ...hosts] = process.argv.slice(1);
for (const host of hosts) {
  const [address = '', port = ''] = host.split(':');
  const socket = createSocket('udp4');
  // Connected: an answer from another address than was asked is no answer.
  socket.connect(Number(port), address);
  try {
    await once(socket, 'connect');
    socket.send(Buffer.alloc(Number(bytes), '?'));
    const [answer] = (await once(socket, 'message', { signal: AbortSignal.timeout(5000) })) as [Buffer]; // as: the event's contract
    if (answer.length === Number(bytes)) console.log(`${host} ${answer.toString().trimEnd()}`);
  } catch (error) {
    console.error(`${host}: ${String(error)}`);
  }
  socket.close();
}
