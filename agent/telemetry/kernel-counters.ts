// What the kernel dropped before the data plane saw it, or after: at the tunnel's sockets and at the TUN. Nobody else counts these losses.
// Read from /proc/net, which shows the network namespace of whoever reads.
import { readFileSync } from 'node:fs';

export interface TunnelDrops {
  /** Undefined: there is no socket on the port, or it could not be read. */
  readonly sockets: { readonly waitingBytes: number; readonly droppedPackets: number } | undefined;
  /** Undefined: there is no TUN. */
  readonly tun: { readonly egressPackets: number; readonly ingressPackets: number } | undefined;
}

export interface TunnelDropsOptions {
  /** The tunnel's UDP port. */
  readonly port: number;
  readonly tunName: string;
  /** Throws when the file cannot be read. */
  readonly read?: (path: string) => string;
}

const text = (path: string): string => readFileSync(path, 'latin1');

export function readTunnelDrops({ port, tunName, read = text }: TunnelDropsOptions): TunnelDrops {
  const contentOf = (path: string): string => {
    try {
      return read(path);
    } catch {
      return ''; // no /proc: nothing is known
    }
  };
  return {
    sockets: parseUdpSockets(contentOf('/proc/net/udp'), port),
    tun: parseDevice(contentOf('/proc/net/dev'), tunName),
  };
}

/** Columns: sl, local, remote, st, tx:rx queue (hexadecimal), … and drops as the last; each worker has a socket. */
function parseUdpSockets(content: string, port: number): TunnelDrops['sockets'] {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  let found = false;
  let waitingBytes = 0;
  let droppedPackets = 0;
  for (const line of content.split('\n')) {
    const columns = line.trim().split(/\s+/);
    if (columns[1]?.endsWith(suffix) !== true) continue;
    found = true;
    waitingBytes += Number.parseInt(columns[4]?.split(':')[1] ?? '0', 16);
    droppedPackets += Number(columns.at(-1));
  }
  return found ? { waitingBytes, droppedPackets } : undefined;
}

/** Columns after the name: eight of what the kernel received, the fourth its drops, eight of what it transmitted. To a TUN the kernel transmits. */
function parseDevice(content: string, name: string): TunnelDrops['tun'] {
  const line = content.split('\n').find((candidate) => candidate.trimStart().startsWith(`${name}:`));
  if (line === undefined) return undefined;
  const columns = line
    .slice(line.indexOf(':') + 1)
    .trim()
    .split(/\s+/)
    .map(Number);
  return { egressPackets: columns[11] ?? 0, ingressPackets: columns[3] ?? 0 };
}
