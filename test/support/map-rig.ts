// A node and its cluster as the live map is told of them: the real view, statistics and connection tracker over made-up peers, in a time
// that a test moves on. What peers do follows from a seed.
import { createClusterView } from '../../agent/control/cluster/cluster-view.ts';
import type { MapFacts } from '../../agent/control/map/map-form.ts';
import { mapFacts } from '../../agent/control/map/map-facts.ts';
import { formatBlockName } from '../../agent/ipam/block-name.ts';
import { createConnectionTracker, peerRow, statsSnapshot } from '../../agent/telemetry/stats-reader.ts';
import {
  type BlockIndex,
  blockCidr,
  blockIndex,
  formatCidr,
  formatIpv4,
  formatMac,
  ipv4,
  mac,
} from '../../proto/address.ts';
import { parseCidr } from '../../proto/address-text.ts';
import type { AddressBlock, Peer } from '../../proto/api-kinds.ts';
import {
  type Counter,
  type Gauge,
  ROW_COLUMNS,
  counterColumn,
  gaugeColumn,
  statsIndex,
} from '../../proto/dataplane-stats.ts';
import type { NodeReport } from '../../proto/node-report.ts';
import { PROBE_INTERVAL_MS } from '../../proto/probe.ts';
import { nodeReport } from './node-report.ts';
import { seededRandom } from './random.ts';

const RANGE = parseCidr('10.32.0.0/12');
const BLOCK_PREFIX_LENGTH = 26;
const QUARANTINE_MS = 600_000;
const SELF = 'node-0';
const UP_MS = 7_000_000;

/** How a peer behaves from now on. */
export interface Behaviour {
  readonly answers: boolean;
  /** Its own probes arrive: where it answers, and where only the way to it is blocked. */
  readonly asks?: boolean;
  readonly roundTripMs: number;
  /** Of its probes, 0 to 1. */
  readonly loss: number;
  readonly bytesPerSecond: number;
  readonly pathMtu: number;
}

export interface MapRig {
  readonly names: readonly string[];
  behave(name: string, behaviour: Partial<Behaviour>): void;
  /** Parts of the report that are not of peers or blocks. */
  report: Partial<NodeReport>;
  /** Lets time pass; peers are probed and send meanwhile. */
  pass(seconds: number): void;
  /** Sends a probe to a peer at this moment, whose answer is still on its way. */
  ask(name: string): void;
  facts(): MapFacts;
}

export interface MapRigOptions {
  /** Names of the peers. */
  readonly names: readonly string[];
  readonly seed: number;
  readonly blocksEach?: number;
  /** Blocks whose holder has gone, and freed ones in quarantine. */
  readonly abandoned?: number;
  readonly quarantined?: number;
}

const peerObject = (name: string, at: number): Peer => ({
  apiVersion: 'weft.dev/v1alpha1',
  kind: 'Peer',
  metadata: { name, uid: `uid-${at}`, resourceVersion: '1', creationTimestamp: '2026-01-01T00:00:00Z' },
  spec: {
    nodeUid: `uid-${at}`,
    addresses: [formatIpv4(ipv4(0xac1f0000 + at + 10))],
    port: 6784,
    vtepMac: formatMac(mac(0x0e0000000000 + at)),
    features: ['probe'],
    version: '0.1.0',
    stateId: `state-${at}`,
  },
});

function blockObject(index: BlockIndex, node: string, at: number): AddressBlock {
  const cidr = blockCidr(RANGE, BLOCK_PREFIX_LENGTH, index);
  return {
    apiVersion: 'weft.dev/v1alpha1',
    kind: 'AddressBlock',
    metadata: { name: formatBlockName(cidr), uid: `block-${index}`, resourceVersion: '1' },
    spec: { cidr: formatCidr(cidr), node, nodeUid: `uid-${at}`, stateId: `state-${at}` },
  };
}

export function createMapRig(options: MapRigOptions): MapRig {
  const { names, blocksEach = 1, abandoned = 0, quarantined = 0 } = options;
  const random = seededRandom(options.seed);
  let nowMs = UP_MS;
  const places = new Set<number>();
  const place = (): BlockIndex => {
    for (;;) {
      const index = Math.floor(random() * 2 ** (BLOCK_PREFIX_LENGTH - RANGE.prefixLength));
      if (places.has(index)) continue;
      places.add(index);
      return blockIndex(index);
    }
  };
  const all = [SELF, ...names];
  const ownBlocks = Array.from({ length: blocksEach }, place);
  const blocks = [
    ...ownBlocks.map((index) => blockObject(index, SELF, 0)),
    ...names.flatMap((name, at) =>
      Array.from({ length: blocksEach }, () => blockObject(place(), name, at + 1)),
    ),
    ...Array.from({ length: abandoned }, () => blockObject(place(), 'node-that-was', 9999)),
  ];
  const freed = Array.from({ length: quarantined }, place);
  const keeper = createClusterView({
    nodeName: SELF,
    range: RANGE,
    blockPrefixLength: BLOCK_PREFIX_LENGTH,
    clock: { now: () => nowMs, setTimer: () => () => undefined },
    defer: () => undefined,
    onChange: () => undefined,
    snapshot: {
      nodeName: SELF,
      range: formatCidr(RANGE),
      blockPrefixLength: BLOCK_PREFIX_LENGTH,
      vni: 1,
      resourceVersions: {},
      peers: [],
      blocks: [],
      slots: {},
      freedBlocks: Object.fromEntries(
        freed.map((index) => [formatBlockName(blockCidr(RANGE, BLOCK_PREFIX_LENGTH, index)), 1000]),
      ),
    },
  });
  keeper.peers.synced(new Map(all.map((name, at) => [name, peerObject(name, at)])), '1');
  keeper.blocks.synced(new Map(blocks.map((block) => [block.metadata.name, block])), '1');
  const view = keeper.current();

  const values = new Float64Array((names.length + 3) * ROW_COLUMNS);
  const stats = statsSnapshot([values]);
  const slotOf = (name: string): number => view.slots.get(name) ?? 0;
  const add = (slot: number, counter: Counter, count: number): void => {
    values[statsIndex(peerRow(slot), counterColumn(counter))]! += count; // !: it has a row for each slot
  };
  const set = (slot: number, gauge: Gauge, value: number): void => {
    values[statsIndex(peerRow(slot), gaugeColumn(gauge))] = value;
  };
  const behaviours = new Map<string, Behaviour>(
    names.map((name) => [
      name,
      {
        answers: true,
        roundTripMs: 0.2 + random() * 0.25,
        loss: 0,
        bytesPerSecond: random() * 4e6,
        pathMtu: 1450,
      },
    ]),
  );
  const tracker = createConnectionTracker({ probeIntervalMs: PROBE_INTERVAL_MS });
  const probe = (name: string): void => {
    const { answers, asks = answers, roundTripMs, loss, bytesPerSecond, pathMtu } = behaviours.get(name)!; // !: of every name
    const slot = slotOf(name);
    add(slot, 'probes_sent', 1);
    if (asks) set(slot, 'last_request_ms', nowMs);
    if (!answers) return;
    set(slot, 'path_mtu', pathMtu);
    add(slot, 'egress_bytes', Math.round(bytesPerSecond * (0.8 + random() * 0.4)));
    add(slot, 'ingress_bytes', Math.round(bytesPerSecond * (0.4 + random() * 0.4)));
    set(slot, 'last_ingress_ms', nowMs);
    if (random() < loss) return;
    add(slot, 'probes_answered', 1);
    set(slot, 'last_probe_answer_ms', nowMs);
    set(slot, 'probe_rtt_us', Math.round(roundTripMs * (0.9 + random() * 0.2) * 1000));
  };
  const reachable = [...view.reachable].map(([name, { slot, probes }]) => ({ name, slot, probes }));

  const rig: MapRig = {
    names,
    report: {},
    behave: (name, behaviour) => void behaviours.set(name, { ...behaviours.get(name)!, ...behaviour }), // !: of every name
    pass(seconds) {
      for (let second = 0; second < seconds; second += 1) {
        nowMs += PROBE_INTERVAL_MS;
        for (const name of names) probe(name);
        tracker.observe(reachable, stats, nowMs);
      }
    },
    ask(name) {
      add(slotOf(name), 'probes_sent', 1);
      set(slotOf(name), 'first_unanswered_probe_ms', nowMs);
    },
    facts() {
      const connections = tracker.observe(reachable, stats, nowMs);
      return mapFacts({
        report: {
          ...nodeReport,
          node: { ...nodeReport.node, name: SELF, address: '172.31.0.10' },
          problems: [],
          drops: {},
          api: { isConnected: true, source: 'api', lastSyncAgeSeconds: 1 },
          ...rig.report,
          dataplane: { processId: 1, generation: 1, upSeconds: nowMs / 1000 },
          ipam: {
            ...nodeReport.ipam,
            used: 11,
            total: 63 * blocksEach,
            ownBlocks: ownBlocks.map((index, at) => ({
              cidr: formatCidr(blockCidr(RANGE, BLOCK_PREFIX_LENGTH, index)),
              state: 'held',
              used: 11 + at,
            })),
          },
          peers: connections.map((connection) => {
            const { address, port, vtepMac } = view.reachable.get(connection.name)!; // !: it was taken from there
            return {
              name: connection.name,
              address: formatIpv4(address),
              port,
              vtepMac: formatMac(vtepMac),
              version: '0.1.0',
              state: connection.state,
              sinceSeconds: (nowMs - connection.sinceMs) / 1000,
              lastHeardSeconds:
                connection.lastHeardMs === 0 ? undefined : (nowMs - connection.lastHeardMs) / 1000,
              lastRequestSeconds: undefined,
              roundTripSeconds: connection.roundTripSeconds,
              probeLoss: undefined,
              pathMtu: connection.pathMtu,
              egressPackets: 0,
              ingressPackets: 0,
              blocks: blocksEach,
            };
          }),
        },
        range: RANGE,
        quarantineMs: QUARANTINE_MS,
        view,
        stats,
        nowMs,
        viewNowMs: nowMs,
      });
    },
  };
  return rig;
}
