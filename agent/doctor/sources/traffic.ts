// What the data plane counted between two looks, from its statistics and its forwarding table: also when control does not answer.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { NO_PEER_ROW, SELF_ROW } from '../../../proto/dataplane-stats.ts';
import { DROP_REASONS, type FirewallReason, type RefusalReason } from '../../../proto/drop-reason.ts';
import { decodeForwardingTable } from '../../../proto/forwarding-codec.ts';
import type { ForwardingTable } from '../../../proto/forwarding-table.ts';
import { openFirewallCounters } from '../../control/node/firewall-counters.ts';
import { type StatsSnapshot, peerRow, readStats } from '../../telemetry/stats-reader.ts';
import type { PeerTraffic, TrafficFacts } from '../scene.ts';

const FORWARDING_TABLE = 'forwarding-table';

export interface TrafficSample {
  readonly table: ForwardingTable;
  readonly stats: StatsSnapshot;
  readonly firewall: ReadonlyMap<FirewallReason, number>;
  readonly atMs: number;
}

/** Undefined where no agent has run since the node started. */
export function sampleTraffic(runDirectory: string, atMs: number): TrafficSample | undefined {
  let table: ForwardingTable;
  try {
    const decoded = decodeForwardingTable(readFileSync(join(runDirectory, FORWARDING_TABLE)));
    if (!decoded.ok) return undefined;
    table = decoded.value;
  } catch {
    return undefined;
  }
  const highestSlot = Math.max(0, ...table.peers.map(({ slot }) => slot));
  const stats = readStats({ runDirectory, highestSlot, workers: 1 });
  if (stats === undefined) return undefined;
  return { table, stats, firewall: readFirewall(), atMs };
}

function readFirewall(): ReadonlyMap<FirewallReason, number> {
  try {
    const counters = openFirewallCounters();
    try {
      return counters.read();
    } finally {
      counters.close();
    }
  } catch {
    return new Map(); // the tables are missing, which another check says
  }
}

export function trafficBetween(
  before: TrafficSample | undefined,
  after: TrafficSample | undefined,
): TrafficFacts | undefined {
  if (before === undefined || after === undefined) return undefined;
  const dropsOf = (row: number): Partial<Record<RefusalReason, number>> => {
    const grown = DROP_REASONS.map(
      (reason) => [reason, after.stats.drops(row, reason) - before.stats.drops(row, reason)] as const,
    );
    return Object.fromEntries(grown.filter(([, count]) => count > 0));
  };
  const drops: Partial<Record<RefusalReason, number>> = { ...dropsOf(NO_PEER_ROW) };
  const add = (reason: RefusalReason, count: number): void => {
    if (count > 0) drops[reason] = (drops[reason] ?? 0) + count;
  };
  for (const [reason, count] of Object.entries(dropsOf(SELF_ROW))) add(reason as RefusalReason, count); // as: entries forgets the keys
  for (const [reason, count] of after.firewall) add(reason, count - (before.firewall.get(reason) ?? 0));
  // One that came in between has its slot's counters of somebody else perhaps, and is not in the rules, which were listed earlier.
  const known = new Map(before.table.peers.map(({ slot, address }) => [slot, address]));
  const peers = after.table.peers
    .filter(({ slot, address }) => known.get(slot) === address)
    .map((peer): PeerTraffic => Object.assign({}, peer, { drops: dropsOf(peerRow(peer.slot)) }));
  return {
    table: after.table,
    seconds: (after.atMs - before.atMs) / 1000,
    peers,
    drops,
    loops: after.stats.process('loops') - before.stats.process('loops'),
    generation: after.stats.process('generation'),
  };
}
