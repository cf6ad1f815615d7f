// What the commands about packets know of this node beside the kernel: the forwarding table that the data plane uses, from its file, and the
// report, for names. The table is enough: a capture must work while control is down, with addresses in place of names.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { type Ipv4, formatIpv4 } from '../../proto/address.ts';
import { parseIpv4 } from '../../proto/address-text.ts';
import { decodeForwardingTable } from '../../proto/forwarding-codec.ts';
import type { ForwardingPeer, ForwardingTable } from '../../proto/forwarding-table.ts';
import type { NodeReport } from '../../proto/node-report.ts';
import { OperationError, codeOf } from '../operation-error.ts';
import { settingOf } from '../setting-table.ts';
import { askReport } from './agent-client.ts';

type Environment = Readonly<Record<string, string | undefined>>;

export const runDirectoryOf = (env: Environment): string => settingOf(env, 'WEFT_RUN_DIR');

export interface NodeTables {
  readonly table: ForwardingTable;
  /** Undefined when control does not answer. */
  readonly report: NodeReport | undefined;
  /** Its node's name, or its underlay address while that is not known. */
  nameOf(peer: Pick<ForwardingPeer, 'address'>): string;
  bySlot(slot: number): ForwardingPeer | undefined;
  /** By node name or underlay address. */
  find(nameOrAddress: string): ForwardingPeer | undefined;
}

/** Throws OperationError NO_TABLE. */
export async function readNodeTables(env: Environment): Promise<NodeTables> {
  const table = readForwardingTable(runDirectoryOf(env));
  const report = await askReport(env).catch((error: unknown) => {
    if (codeOf(error) === 'AGENT_SILENT') return undefined;
    throw error;
  });
  return nodeTables(table, report);
}

export function nodeTables(table: ForwardingTable, report: NodeReport | undefined): NodeTables {
  const names = new Map(report?.peers.map(({ address, name }) => [address, name]));
  const slots = new Map(table.peers.map((peer) => [peer.slot, peer]));
  const nameOf = ({ address }: { readonly address: Ipv4 }): string =>
    names.get(formatIpv4(address)) ?? formatIpv4(address);
  return {
    table,
    report,
    nameOf,
    bySlot: (slot) => slots.get(slot),
    find: (wanted) =>
      table.peers.find((peer) => nameOf(peer) === wanted || formatIpv4(peer.address) === wanted),
  };
}

/** Throws OperationError NO_TABLE. */
export function readForwardingTable(runDirectory: string): ForwardingTable {
  const path = join(runDirectory, 'forwarding-table');
  try {
    const table = decodeForwardingTable(readFileSync(path));
    if (table.ok) return table.value;
    throw new OperationError(
      `Cannot use ${path}: it is damaged (${table.reason}); the agent writes it again when it starts`,
      {
        code: 'NO_TABLE',
      },
    );
  } catch (error) {
    if (error instanceof OperationError) throw error;
    throw new OperationError(
      `Cannot read ${path} (${codeOf(error)}): run this where the agent runs, as in "kubectl -n weft exec ds/weft -- weft …"; on the node itself as root`,
      { code: 'NO_TABLE', cause: error },
    );
  }
}

/** Undefined for text that is no address. */
export function addressIn(text: string): Ipv4 | undefined {
  try {
    return parseIpv4(text);
  } catch {
    return undefined;
  }
}
