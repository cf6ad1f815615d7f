// Egress and ingress as the offload tests drive them: bytes in, batches out, through the public surface only and in process.
import { Egress } from '../../agent/dataplane/egress.ts';
import { Forwarding } from '../../agent/dataplane/forwarding.ts';
import { Ingress } from '../../agent/dataplane/ingress.ts';
import type { PacketMemory } from '../../agent/dataplane/packet-memory.ts';
import { PeerRecords } from '../../agent/dataplane/peer-records.ts';
import { SendBatch } from '../../agent/dataplane/send-batch.ts';
import { DROP, DataplaneStats } from '../../agent/dataplane/stats.ts';
import { WriteBatch } from '../../agent/dataplane/write-batch.ts';
import { statsIndex } from '../../proto/dataplane-stats.ts';
import { OWNER_FIRST_PEER } from '../../proto/forwarding-table.ts';
import {
  type SentTrain,
  type TunWrite,
  OTHER_PEER_SLOT,
  PEER_SLOT,
  nonZero,
  takeTrains,
  takeWrites,
  testMemory,
  threeNodes,
} from './dataplane-rig.ts';

const AREA_BYTES = 2 << 20;
/** Between two packets in the area, so that nothing is aligned by luck. */
const GAP_BYTES = 7;
const ROWS = [0, OWNER_FIRST_PEER + PEER_SLOT, OWNER_FIRST_PEER + OTHER_PEER_SLOT];

export interface Datagram {
  readonly bytes: Uint8Array;
  /** Of UDP_GRO; 0 = one datagram. */
  readonly segmentBytes: number;
  readonly source: number;
}

/** Refusals by reason, all rows together. */
type Refusals = Readonly<Record<string, number>>;

export interface EgressRig {
  /** All reads in one batch, as one round of the loop sends them. */
  readonly send: (reads: readonly Uint8Array[]) => { trains: SentTrain[]; refusals: Refusals };
}

export interface IngressRig {
  readonly mtu: number;
  /** All datagrams in one batch. `intact`: the receive buffers are as they were. */
  readonly receive: (datagrams: readonly Datagram[]) => {
    writes: TunWrite[];
    refusals: Refusals;
    intact: boolean;
  };
}

function createArea(memory: PacketMemory): { clear(): void; place(bytes: Uint8Array): number } {
  const area = memory.allocate(AREA_BYTES);
  let next = area;
  return {
    clear: () => {
      next = area;
    },
    place: (bytes) => {
      const at = next + GAP_BYTES;
      next = at + bytes.length;
      if (next > area + AREA_BYTES) throw new RangeError(`${AREA_BYTES} bytes of packets are too few`);
      memory.bytes.set(bytes, at);
      return at;
    },
  };
}

function takeRefusals(stats: DataplaneStats): Refusals {
  const sum: Record<string, number> = {};
  for (const row of ROWS) {
    for (const [reason, count] of Object.entries(nonZero(DROP, (column) => stats.get(row, column)))) {
      sum[reason] = (sum[reason] ?? 0) + count;
    }
    stats.cells.fill(0, statsIndex(row, 0), statsIndex(row + 1, 0)); // all of them are two megabytes
  }
  return sum;
}

export function createEgressRig(): EgressRig {
  const memory = testMemory(8 << 20);
  const batch = new SendBatch(memory);
  const records = new PeerRecords(memory);
  const stats = new DataplaneStats();
  records.write(threeNodes());
  const trains: SentTrain[] = [];
  const take = (): void => void trains.push(...takeTrains(memory, batch));
  const egress = new Egress(new Forwarding(threeNodes()), {
    memory,
    batch,
    records,
    stats,
    flush: take,
    unreachable: () => undefined,
  });
  const area = createArea(memory);
  return {
    send(reads) {
      area.clear();
      for (const read of reads) egress.accept(area.place(read), read.length);
      take();
      egress.sent();
      return { trains: trains.splice(0), refusals: takeRefusals(stats) };
    },
  };
}

export function createIngressRig(): IngressRig {
  const memory = testMemory(8 << 20);
  const batch = new WriteBatch(memory);
  const stats = new DataplaneStats();
  const writes: TunWrite[] = [];
  const take = (): void => void writes.push(...takeWrites(memory, batch));
  const ingress = new Ingress(new Forwarding(threeNodes(false)), {
    memory,
    batch,
    stats,
    flush: take,
    probe: () => false,
  });
  const area = createArea(memory);
  return {
    mtu: ingress.mtu,
    receive(datagrams) {
      area.clear();
      const offsets = datagrams.map(({ bytes }) => area.place(bytes));
      for (const [index, { bytes, segmentBytes, source }] of datagrams.entries()) {
        ingress.accept({
          offset: offsets[index]!, // !: one for each
          length: bytes.length,
          segmentBytes,
          source,
          sourcePort: 0,
        });
      }
      ingress.finish();
      take();
      const intact = datagrams.every(({ bytes }, index) => {
        const offset = offsets[index]!; // !: one for each
        return Buffer.compare(bytes, memory.bytes.subarray(offset, offset + bytes.length)) === 0;
      });
      return { writes: writes.splice(0), refusals: takeRefusals(stats), intact };
    },
  };
}
