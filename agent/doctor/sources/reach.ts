// Whether the machine behind a peer's address is there: TCP to its metrics port and to its kubelet, which a firewall of the tunnel's UDP port
// leaves alone. Nothing is sent over it.
import { connect } from 'node:net';

import { codeOf } from '../../operation-error.ts';
import type { Reach } from '../scene.ts';

const PATIENCE_MS = 1200;
const KUBELET_PORT = 10_250;
/** The first ones tell what is to be told. */
const MOST_PEERS = 16;

export async function reachPeers(
  addresses: readonly string[],
  metricsPort: number,
): Promise<ReadonlyMap<string, Reach>> {
  const asked = addresses.slice(0, MOST_PEERS);
  const found = await Promise.all(
    asked.map(async (address) => {
      const answers = await Promise.all([metricsPort, KUBELET_PORT].map((port) => attempt(address, port)));
      const best = (['open', 'refused', 'unreachable'] as const).find((reach) => answers.includes(reach));
      return [address, best ?? 'silent'] as const;
    }),
  );
  return new Map(found);
}

function attempt(host: string, port: number): Promise<Reach> {
  const { promise, resolve } = Promise.withResolvers<Reach>();
  const socket = connect({ host, port, timeout: PATIENCE_MS });
  const end = (reach: Reach): void => {
    socket.destroy();
    resolve(reach);
  };
  socket.on('connect', () => end('open'));
  socket.on('timeout', () => end('silent'));
  socket.on('error', (error) => {
    const code = codeOf(error);
    if (code === 'ECONNREFUSED' || code === 'ECONNRESET') end('refused');
    else end(['EHOSTUNREACH', 'ENETUNREACH', 'EHOSTDOWN'].includes(code) ? 'unreachable' : 'silent');
  });
  return promise;
}
