// Tells when the path to a peer takes less than the node's own MTU, or more than was told, each change once. What only follows the node's
// own MTU is told as that (mtu_changed), not again for every peer.
import type { Logger } from '../../telemetry/logger.ts';
import type { Connection } from '../../telemetry/stats-reader.ts';

export interface PathMtuLog {
  /** To be called each probe interval. `mtu` is the node's own. */
  tell(connections: readonly Pick<Connection, 'name' | 'pathMtu'>[], mtu: number): void;
}

export function createPathMtuLog(log: Pick<Logger, 'info' | 'warn'>): PathMtuLog {
  /** By name of the peer. */
  const seen = new Map<string, { readonly pathMtu: number; readonly isToldLow: boolean }>();
  return {
    tell(connections, mtu) {
      for (const { name, pathMtu: found } of connections) {
        const last = seen.get(name);
        if (found === undefined) {
          if (last !== undefined) seen.delete(name);
          continue;
        }
        const pathMtu = Math.min(found, mtu);
        if (last?.pathMtu === pathMtu && (pathMtu < mtu || !last.isToldLow)) continue;
        const before = Math.min(last?.pathMtu ?? mtu, mtu);
        const isLower = pathMtu < before;
        const isRaised = pathMtu > before && last?.isToldLow === true;
        seen.set(name, { pathMtu, isToldLow: isLower || (last?.isToldLow === true && pathMtu < mtu) });
        const fields = { peer: name, path_mtu: pathMtu, path_mtu_before: before };
        if (isLower) {
          log.warn(
            'path_mtu_lowered',
            `The path to "${name}" takes packets of ${pathMtu} bytes, the node's interface of ${mtu}: pods are told by ICMP. If the underlay should carry more, look at its links and tunnels`,
            fields,
          );
        } else if (isRaised) {
          log.info('path_mtu_raised', `The path to "${name}" takes packets of ${pathMtu} bytes`, fields);
        }
      }
      if (seen.size > connections.length) {
        const names = new Set(connections.map(({ name }) => name));
        for (const name of seen.keys()) if (!names.has(name)) seen.delete(name);
      }
    },
  };
}
