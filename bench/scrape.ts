// `npm run bench:scrape`: how long a scrape of /metrics takes on a node with 1,000 peers: the agent's own observation over a statistics
// file of two workers, with every peer measured and refused packets of each, over HTTP as Prometheus asks; the client is this process too.
// Processor time is of all threads. Prints; asserts nothing.
// Another number of peers: node bench/scrape.ts 5000.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { createClusterView } from '../agent/control/cluster/cluster-view.ts';
import type { ClusterLink } from '../agent/control/cluster/cluster-link.ts';
import { createObservation } from '../agent/control/status/observation.ts';
import { openStatusServer } from '../agent/control/status/status-server.ts';
import type { LoggedAddressPool } from '../agent/ipam/address-pool.ts';
import { systemClock } from '../agent/kube/clock.ts';
import { rolesPath, writeRoleStates } from '../agent/role-states.ts';
import { parseSettings } from '../agent/settings.ts';
import { createLogger } from '../agent/telemetry/logger.ts';
import { peerRow } from '../agent/telemetry/stats-reader.ts';
import { blockCidr, formatCidr, formatIpv4, formatMac, ipv4, mac } from '../proto/address.ts';
import type { AddressBlock, Peer } from '../proto/api-kinds.ts';
import {
  COUNTERS,
  HISTOGRAMS,
  STATS_CELLS,
  counterColumn,
  dropColumn,
  gaugeColumn,
  histogramIndex,
  statsIndex,
} from '../proto/dataplane-stats.ts';
import { DROP_REASONS } from '../proto/drop-reason.ts';
import { statsFileOf } from '../proto/worker-files.ts';
import { enterEnclosure } from '../test/lab/enclosure.ts';
import { percentile } from './figures.ts';

const PEERS = Number(process.argv[2] ?? 1000);
const WORKERS = 2;
const SCRAPES = 200;
/** Until V8 has compiled what is used often. An agent is scraped four times a minute. */
const WARM_UP = 20;

await enterEnclosure();

const monotonicMs = (): number => Number(process.hrtime.bigint() / 1_000_000n);

function clusterObjects(blockPrefixLength: number, range: ReturnType<typeof parseSettings>['range']) {
  const peers = new Map<string, Peer>();
  const blocks = new Map<string, AddressBlock>();
  for (let index = 0; index < PEERS; index++) {
    const name = `node-${String(index).padStart(4, '0')}.cluster.example`;
    const cidr = formatCidr(blockCidr(range, blockPrefixLength, index as never)); // as: below the number of blocks
    const nodeUid = `uid-${index}`;
    peers.set(name, {
      apiVersion: 'weft.dev/v1alpha1',
      kind: 'Peer',
      metadata: { name },
      spec: {
        nodeUid,
        addresses: [formatIpv4(ipv4(0xac10_0000 + index))],
        port: 6784,
        vtepMac: formatMac(mac(0x0e00_0000_0000 + index)),
        features: ['probe'],
        version: '0.1.0',
      },
    });
    const block = cidr.replace('/', '-');
    blocks.set(block, {
      apiVersion: 'weft.dev/v1alpha1',
      kind: 'AddressBlock',
      metadata: { name: block },
      spec: { cidr, node: name, nodeUid },
    });
  }
  return { peers, blocks };
}

function writeStatistics(runDirectory: string): (round: number) => void {
  const files = Array.from({ length: WORKERS }, () => new Float64Array(STATS_CELLS));
  for (const cells of files) {
    for (const name of Object.keys(HISTOGRAMS) as (keyof typeof HISTOGRAMS)[]) {
      // as: keys() forgets the names
      cells.fill(1000, histogramIndex(name), histogramIndex(name) + HISTOGRAMS[name].length + 2);
    }
  }
  return (round) => {
    for (const [worker, cells] of files.entries()) {
      for (let slot = 0; slot < PEERS; slot++) {
        const row = peerRow(slot);
        for (const [at, counter] of COUNTERS.entries()) {
          cells[statsIndex(row, counterColumn(counter))] = 1e9 + round * 1000 * ((slot * 7919) % PEERS) + at;
        }
        for (const [at, reason] of DROP_REASONS.entries()) {
          cells[statsIndex(row, dropColumn(reason))] = (slot + at) % 5;
        }
        cells[statsIndex(row, gaugeColumn('last_ingress_ms'))] = monotonicMs();
        cells[statsIndex(row, gaugeColumn('last_probe_answer_ms'))] = monotonicMs();
        cells[statsIndex(row, gaugeColumn('probe_rtt_us'))] = 80 + (slot % 900);
        cells[statsIndex(row, gaugeColumn('path_mtu'))] = slot % 50 === 0 ? 1350 : 1450;
      }
      writeFileSync(join(runDirectory, statsFileOf(worker)), cells, { flag: round === 0 ? 'w' : 'r+' });
    }
  };
}

const directory = mkdtempSync(join(tmpdir(), 'weft-bench-scrape-'));
const settings = parseSettings({
  HOSTNAME: 'this-node',
  WEFT_RUN_DIR: directory,
  WEFT_STATE_DIR: directory,
  WEFT_DATAPLANE_WORKERS: String(WORKERS),
});
const view = createClusterView({
  ...settings,
  clock: systemClock,
  defer: setImmediate,
  onChange: () => undefined,
});
const { peers, blocks } = clusterObjects(settings.blockPrefixLength, settings.range);
view.peers.synced(peers, '1');
view.blocks.synced(blocks, '1');
const usage = { blocks: 2, total: 125, used: 100, free: 25 };
const observation = createObservation({
  selfCheck: () => ({ faults: () => [], ageSeconds: () => undefined }),
  settings,
  version: '0.1.0',
  nodeAddress: '172.16.255.1',
  mtu: () => 1450,
  pool: {
    usage: () => usage,
    list: () => [],
    pendingAllocations: () => 0,
    reuseAgeMs: () => 45_000,
    logFailure: () => undefined,
  } as unknown as LoggedAddressPool, // as: all that a scrape asks it
  link: () =>
    ({
      claims: () => undefined,
      reflectors: () => undefined,
      identity: () => undefined,
      troubles: () => [],
    }) as unknown as ClusterLink, // as: likewise
  view: () => view.current(),
  gateway: () => undefined,
  notReady: () => [],
  configurationTrouble: () => undefined,
  troubles: () => [],
  log: createLogger({ role: 'control', level: 'error', format: 'json' }),
  recent: { list: () => [] },
  environment: {},
  monotonicMs,
  viewMs: () => systemClock.now(),
  wallMs: Date.now,
});
writeRoleStates(rolesPath(directory), [
  { role: 'control', pid: process.pid, restarts: 0 },
  { role: 'dataplane', pid: process.pid, pids: [process.pid, process.pid], restarts: 0 },
]);
const advance = writeStatistics(directory);
const server = await openStatusServer({
  source: observation,
  status: { host: '127.0.0.1', port: 0 },
  metrics: { host: '127.0.0.1', port: 0 },
  failed: (path, error) => console.error(path, error),
});

const scrapeMs: number[] = [];
const processorMs: number[] = [];
const renderMs: number[] = [];
const lookMs: number[] = [];
let text = '';
for (let round = 0; round < WARM_UP + SCRAPES; round++) {
  advance(round);
  const looked = performance.now();
  observation.look();
  const started = performance.now();
  const before = process.cpuUsage();
  text = await (await fetch(`http://127.0.0.1:${server.metricsPort}/metrics`)).text();
  const ended = performance.now();
  const { user, system } = process.cpuUsage(before);
  processorMs.push((user + system) / 1000);
  await observation.metrics();
  renderMs.push(performance.now() - ended);
  lookMs.push(started - looked);
  scrapeMs.push(ended - started);
}
await server.close();
observation.close();
rmSync(directory, { recursive: true });

const figures = (values: readonly number[]): string => {
  const [first = Number.NaN] = values;
  const warm = values.slice(WARM_UP);
  const [half, tail] = [0.5, 0.99].map((share) => percentile(warm, share).toFixed(1));
  return `${half} ms median, ${tail} ms p99, ${Math.max(...warm).toFixed(1)} ms worst of ${warm.length}; ${first.toFixed(1)} ms the first of the process`;
};
const series = text.split('\n').filter((line) => line !== '' && !line.startsWith('#')).length;
console.log(`${PEERS} peers, ${WORKERS} workers: ${series} series, ${(text.length / 1024).toFixed(0)} KiB`);
console.log(`scrape over HTTP:       ${figures(scrapeMs)}`);
console.log(`processor time of it:   ${figures(processorMs)}`);
console.log(`made, without HTTP:     ${figures(renderMs)}`);
console.log(`look, once a second:    ${figures(lookMs)}`);
