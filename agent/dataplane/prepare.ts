// Makes everything that the packet path needs before it starts: the arena, the WASM kernel, the mapped statistics, the pure modules and
// the ports around them. After this nothing is allocated that a packet could wait for.
import { closeSync, constants, openSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks'; // the global is a getter, which costs more than the clock

import { ipv4, mac, vni } from '../../proto/address.ts';
import { CAPTURE_BYTES } from '../../proto/capture-ring.ts';
import { STATS_BYTES, STATS_CELLS } from '../../proto/dataplane-stats.ts';
import { type ForwardingTable, OWNER_FIRST_PEER } from '../../proto/forwarding-table.ts';
import { invariant } from '../../proto/invariant.ts';
import { inFlightFileOf, statsFileOf } from '../../proto/worker-files.ts';
import { Arena, type Region } from '../linux/arena.ts';
import { check, errnoName, libc } from '../linux/libc.ts';
import { monotonicMs } from '../linux/monotonic-clock.ts';
import { createSharedFile, mapShared } from '../linux/shared-file.ts';
import { attachTun } from '../linux/tun.ts';
import { BusyPolling } from './busy-polling.ts';
import { CaptureFile } from './capture-file.ts';
import { type Clock, createClock } from './clock.ts';
import { Egress } from './egress.ts';
import { Forwarding } from './forwarding.ts';
import { IcmpErrors } from './icmp-errors.ts';
import { type Found, IN_FLIGHT_BYTES, createInFlightMemory } from './in-flight.ts';
import { Ingress } from './ingress.ts';
import type { LoopOptions } from './loop.ts';
import { loadPacketKernels } from './packet-kernels.ts';
import { type PacketMemory, splitAddress } from './packet-memory.ts';
import { PeerRecords } from './peer-records.ts';
import { ProbeSocket } from './probe-socket.ts';
import { Probes } from './probes.ts';
import { Receiver } from './receiver.ts';
import { type Report, limitFailures } from './report.ts';
import { SendBatch } from './send-batch.ts';
import { DataplaneStats, GAUGE } from './stats.ts';
import { Transmitter } from './transmitter.ts';
import { Tap } from './tap.ts';
import { TunPort } from './tun-port.ts';
import { WriteBatch } from './write-batch.ts';

/** Without the statistics of other workers. */
const ARENA_BYTES = 15 << 20;
const MAP_ALIGNMENT = 65_536;
const O_CLOEXEC = 0o2000000;

export interface Descriptors {
  readonly keeper: number;
  readonly control: number;
  readonly tun: number;
  readonly receive: number;
  readonly send: readonly number[];
  /** Of the other workers from 1 on; as a worker of these they take the place of `control`, `tun` and `receive`. */
  readonly others: readonly (readonly [control: number, tun: number, receive: number])[];
}

export type Dataplane = Omit<
  LoopOptions,
  'message' | 'reload' | 'housekeeping' | 'descriptors' | 'probes'
> & {
  readonly arena: Arena;
  readonly probes: Probes;
  readonly probeSocket: ProbeSocket;
  /** Once the turn has come: from now on it reads and counts as that worker. Throws OperationError. */
  become(worker: number): void;
  /** Takes over what the first worker, which alone asks, knows of the paths to the peers. For the others, once a second. */
  followPaths(): void;
  /** To be called once a second, after become(): begins and ends the captures that the command asks for. */
  lookAtCapture(): void;
  readonly inFlight: {
    /** After become(): maps the packets in flight and says what the process before left. Throws OperationError. */
    map(): Found;
    handedOn(): void;
  };
  /** Takes another table, between two batches. */
  useTable(table: ForwardingTable): void;
};

/** Throws OperationError when packet-kernels.wasm is missing. */
export function prepareDataplane(options: {
  readonly runDirectory: string;
  readonly descriptors: Descriptors;
  readonly tunName: string;
  /** How many there are. */
  readonly workers: number;
  readonly report: Report;
}): Dataplane {
  const { descriptors } = options;
  const others = options.workers - 1;
  const arena = new Arena(ARENA_BYTES + others * (STATS_BYTES + MAP_ALIGNMENT));
  const kernels = loadPacketKernels(arena.memory);
  const { baseLow, baseHigh } = splitAddress(arena.base);
  kernels.setBase(baseLow, baseHigh);
  const memory: PacketMemory = {
    bytes: arena.bytes,
    view: new DataView(arena.memory.buffer),
    baseLow,
    baseHigh,
    kernels,
    sum: kernels.sum,
    allocate: (byteLength, alignment) => arena.allocate(byteLength, alignment).offset,
  };
  const clock = monotonicClock();
  const failure = limitFailures(options.report, clock, errnoName);
  // Mapped when the turn comes: until then the process does not know whose counters are its.
  const statsIn = ({ offset }: Region): DataplaneStats =>
    new DataplaneStats(new Float64Array(arena.memory.buffer, offset, STATS_CELLS));
  const statsRegion = arena.allocate(STATS_BYTES, MAP_ALIGNMENT);
  const stats = statsIn(statsRegion);
  // Of the workers from 1 on, for the first one; the others have the first one's in the first place.
  const otherRegions = Array.from({ length: others }, () => arena.allocate(STATS_BYTES, MAP_ALIGNMENT));
  const otherStats = otherRegions.map(statsIn);
  const captureRegion = arena.allocate(CAPTURE_BYTES, MAP_ALIGNMENT);
  const tap = new Tap(memory);
  let worker = 0;
  const shared = { memory, base: arena.base, stats, clock, report: failure, tap };

  const records = new PeerRecords(memory);
  const sends = new SendBatch(memory);
  const writes = new WriteBatch(memory);
  const inFlightRegion = arena.allocate(IN_FLIGHT_BYTES, MAP_ALIGNMENT);
  const inFlight = createInFlightMemory(memory, inFlightRegion.offset);
  const tun = new TunPort({ ...shared, inFlight: inFlight.memory, fd: descriptors.tun });
  const receiver = new Receiver({ memory: inFlight.memory, base: arena.base, fd: descriptors.receive });
  const transmitter = new Transmitter({ ...shared, sockets: descriptors.send, records });
  const probeSocket = new ProbeSocket({ memory, base: arena.base, records, tap });
  const probes = new Probes({
    ...shared,
    otherStats,
    records,
    random: Math.random,
    send: (offset, length, slot) => transmitter.sendNow(offset, length, slot),
    sendWhole: (offset, length, slot) => probeSocket.sendWhole(offset, length, slot),
  });
  const errors = new IcmpErrors(memory, clock, (offset, length) => tun.writeNow(offset, length));
  const nobody = new Forwarding(EMPTY_TABLE);
  const egress = new Egress(nobody, {
    memory,
    stats,
    records,
    batch: sends,
    tap,
    flush: () => transmitter.flush(sends),
    unreachable: (ip, length) => errors.hostUnreachable(ip, length),
    fragmentationNeeded: (ip, length, mtu) => errors.fragmentationNeeded(ip, length, mtu),
  });
  const ingress = new Ingress(nobody, {
    memory,
    stats,
    batch: writes,
    tap,
    flush: () => tun.flush(writes),
    probe: (offset, length, slot) => probes.receive(offset, length, slot),
  });
  const captureFile = new CaptureFile({
    directory: options.runDirectory,
    memory,
    region: captureRegion,
    tap,
    records,
    clock,
    sockets: descriptors.send,
  });
  return {
    arena,
    memory,
    base: arena.base,
    clock,
    stats,
    tun,
    receiver,
    transmitter,
    egress,
    ingress,
    probes,
    probeSocket,
    sends,
    writes,
    busyPolling: new BusyPolling(),
    become(turn) {
      worker = turn;
      if (worker > 0) takeDescriptors(descriptors, worker);
      const mapStats = (region: Region, of: number): void =>
        mapFile(region, join(options.runDirectory, statsFileOf(of)));
      mapStats(statsRegion, worker);
      for (const [index, region] of otherRegions.entries()) {
        if (worker === 0) mapStats(region, index + 1);
        else if (index === 0) mapStats(region, 0);
      }
    },
    followPaths() {
      for (const { slot } of egress.forwarding.peers) {
        const mtu = otherStats[0]?.get(OWNER_FIRST_PEER + slot, GAUGE.path_mtu) ?? 0;
        if (mtu > 0) records.setPathMtu(slot, mtu);
      }
    },
    lookAtCapture: () => captureFile.look(worker),
    inFlight: {
      map() {
        const path = join(options.runDirectory, inFlightFileOf(worker));
        createSharedFile(path, IN_FLIGHT_BYTES);
        mapFile(inFlightRegion, path);
        return inFlight.takeOver();
      },
      handedOn: () => inFlight.handedOn(),
    },
    remakeTun() {
      attachTun(new Arena(1), descriptors.tun, options.tunName);
      options.report({
        level: 'warn',
        event: 'network_repaired',
        message: `TUN "${options.tunName}" was deleted and is made again; control gives it its address and routes. If it goes on, find who deletes it`,
        fields: { interface: options.tunName },
      });
    },
    useTable(table) {
      const forwarding = new Forwarding(table);
      if (worker > 0) forgetOwners(stats, egress.forwarding, forwarding);
      records.write(table);
      egress.forwarding = forwarding;
      ingress.forwarding = forwarding;
      errors.gateway = table.gateway;
      probes.update(forwarding);
    },
  };
}

/** What this worker saw of who had a slot before is not its new peer's. The first worker's own gauges are probes.ts's. */
function forgetOwners(stats: DataplaneStats, before: Forwarding, now: Forwarding): void {
  const known = new Set(before.peers.map(({ slot }) => slot));
  for (const { slot } of now.peers) {
    if (known.has(slot)) continue;
    for (const column of [GAUGE.last_ingress_ms, GAUGE.last_request_ms]) {
      stats.set(OWNER_FIRST_PEER + slot, column, 0);
    }
  }
}

/** Until control has written one: every packet is refused. */
const EMPTY_TABLE: ForwardingTable = {
  generation: 0,
  range: { base: ipv4(0), prefixLength: 32 },
  blockPrefixLength: 32,
  vni: vni(0),
  vtepMac: mac(0),
  gateway: ipv4(0),
  peers: [],
  owners: new Uint16Array(1),
};

function monotonicClock(): Clock {
  const originMs = monotonicMs() - performance.now();
  return createClock(originMs, () => performance.now());
}

/** Puts a worker's descriptors in the place of the first one's, by whose numbers everything was prepared. */
function takeDescriptors({ control, tun, receive, others }: Descriptors, worker: number): void {
  const own = others[worker - 1];
  invariant(own !== undefined, () => `there is no worker ${worker} among ${others.length + 1}`);
  for (const [index, place] of [control, tun, receive].entries()) {
    check(libc.dup3(own[index]!, place, O_CLOEXEC), () => `take the descriptors of worker ${worker}`); // !: three each
  }
}

/** Puts the file in the region's place. */
function mapFile(region: Region, path: string): void {
  const fd = openSync(path, constants.O_RDWR);
  try {
    mapShared(region, fd, path);
  } finally {
    closeSync(fd);
  }
}
