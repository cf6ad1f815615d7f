// The result of a plugin that is not the first in its chain: everything that `prevResult` holds, known or not, and ours behind it
// (CNI spec 1.1.0, section 5, "ADD Success").
import { type CniResult, type Fields, isObject } from './cni.ts';

const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

/** `previous` is of a decoded configuration, so its lists are lists. */
export function chainResult(previous: unknown, own: CniResult): Fields {
  if (!isObject(previous)) return { ...own };
  const interfaces = listOf(previous['interfaces']);
  const dns =
    isObject(previous['dns']) && Object.keys(previous['dns']).length > 0 ? previous['dns'] : own.dns;
  return {
    ...previous,
    cniVersion: own.cniVersion,
    interfaces: [...interfaces, ...own.interfaces],
    ips: [
      ...listOf(previous['ips']),
      ...own.ips.map((ip) => ({ ...ip, interface: ip.interface + interfaces.length })),
    ],
    routes: [...listOf(previous['routes']), ...own.routes],
    dns,
  };
}
