// Runs in a pod (tool-pods.ts). Answers every UDP datagram with "NAME ADDRESS LENGTH": who it is, whom it saw asking, and how many bytes
// came; padded with spaces to the length that came, so that the way back carries as much.
import { createSocket } from 'node:dgram';
import { hostname } from 'node:os';
import process from 'node:process';

const socket = createSocket('udp4');
socket.on('message', (message, { address, port }) => {
  const text = `${hostname()} ${address} ${message.length}`;
  socket.send(text.padEnd(message.length), port, address);
});
socket.bind(Number(process.argv[1]));
process.on('SIGTERM', () => process.exit(0));
