// Ends a connection with RST (a fault on request). Under TLS the socket of a request is not the TCP socket: the listener's own
// sockets are remembered by the client's address.
import type { Server } from 'node:http';
import type { Socket } from 'node:net';

export class ConnectionResets {
  readonly #sockets = new Map<string, Socket>();

  follow(server: Server): void {
    server.on('connection', (socket: Socket) => {
      const key = clientOf(socket);
      this.#sockets.set(key, socket);
      socket.once('close', () => this.#sockets.delete(key));
    });
  }

  /** A unix socket knows no RST: it is closed at once. */
  reset(socket: Socket | null): void {
    if (socket === null) return;
    const own = this.#sockets.get(clientOf(socket));
    if (own === undefined || own.remotePort === undefined) socket.destroy();
    else own.resetAndDestroy();
  }
}

const clientOf = (socket: Socket): string => `${socket.remoteAddress} ${socket.remotePort}`;
