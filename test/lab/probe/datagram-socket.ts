// UDP sockets of the probes; the one place that imports dgram-as-promised. Datagrams are taken by a callback, not by its recv(),
// which would lose those that arrive while nobody waits.
import type { RemoteInfo } from 'node:dgram';

import { DgramAsPromised, type SocketAsPromised } from 'dgram-as-promised';

/** As much as the machine allows (net.core.rmem_max caps it): a probe must not lose what the network delivered. */
const BUFFER_BYTES = 4 * 1024 * 1024;

export interface DatagramSocket {
  readonly port: number;
  readonly send: (datagram: Uint8Array, port: number, address: string) => Promise<void>;
  readonly close: () => Promise<void>;
}

export async function openDatagramSocket(
  port: number,
  received: (datagram: Buffer, from: RemoteInfo) => void,
): Promise<DatagramSocket> {
  const socket: SocketAsPromised = DgramAsPromised.createSocket(
    { type: 'udp4', recvBufferSize: BUFFER_BYTES, sendBufferSize: BUFFER_BYTES },
    received,
  );
  const bound = await socket.bind(port, '0.0.0.0');
  return {
    port: bound.port,
    send: async (datagram, toPort, address) => {
      await socket.send(datagram, toPort, address);
    },
    close: () => socket.close(),
  };
}
