// Benchmark: how long `weft status` takes, from the call to its end, on a node with a thousand peers: Node's start, the report that control
// makes, and the text. The command is the image's (manifests/image/build-tree.ts); the report is control's own, of its own status server
// in a process beside it. Node's own start is measured in turn with it.  node bench/weft-status.ts [PEERS]
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { openStatusServer } from '../agent/control/status/status-server.ts';
import { largeObservation } from '../test/support/large-observation.ts';

const ROUNDS = 25;
const PODS = 250;
const host = '127.0.0.1';

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
const told = (values: readonly number[]): string =>
  `median ${median(values).toFixed(1)} ms, least ${Math.min(...values).toFixed(1)}, most ${Math.max(...values).toFixed(1)}`;

async function timed(work: () => unknown): Promise<number> {
  const startedMs = performance.now();
  await work();
  return performance.now() - startedMs;
}

/** The server's process: tells its port, ends with its standard input. */
async function serve(peers: number, runDirectory: string): Promise<void> {
  const observation = largeObservation({ peers, pods: PODS, runDirectory });
  const server = await openStatusServer({
    source: observation,
    status: { host, port: 0 },
    metrics: { host, port: 0 },
    failed: (path, error) => console.error(path, error),
  });
  console.log(server.statusPort, server.metricsPort);
  process.stdin.resume().on('end', () => process.exit(0));
}

async function measure(peers: number): Promise<void> {
  const scratch = mkdtempSync(join(tmpdir(), 'weft-bench-status-'));
  try {
    const tree = join(scratch, 'tree');
    spawnSync(process.execPath, [join(import.meta.dirname, '../manifests/image/build-tree.ts'), tree]);
    const server = spawn(
      process.execPath,
      [import.meta.filename, 'serve', String(peers), join(scratch, 'run')],
      {
        stdio: ['pipe', 'pipe', 'inherit'],
      },
    );
    const [line] = (await once(server.stdout, 'data')) as [Buffer]; // as: the stream has no encoding
    const [port, metricsPort] = line.toString().trim().split(' ');
    const env = {
      ...process.env,
      WEAVE_HTTP_ADDR: `${host}:${port}`,
      WEAVE_METRICS_ADDR: `${host}:${metricsPort}`,
      NODE_COMPILE_CACHE: join(scratch, 'cache'),
    };
    const run = (...args: readonly string[]): ReturnType<typeof spawnSync> =>
      spawnSync(process.execPath, args, { env, maxBuffer: 1e8 });
    const weft = (...args: readonly string[]): ReturnType<typeof spawnSync> =>
      run(join(tree, 'agent/cli/weft.js'), ...args);
    console.log(`first, nothing compiled yet: ${(await timed(() => weft('status'))).toFixed(1)} ms`);
    const [node, status, server_]: [number[], number[], number[]] = [[], [], []];
    for (let round = 0; round < ROUNDS; round++) {
      node.push(await timed(() => run('-e', '0')));
      status.push(await timed(() => weft('status')));
      server_.push(await timed(async () => (await fetch(`http://${host}:${port}/report`)).arrayBuffer()));
    }
    const ended = weft('status');
    console.log(
      `weft status of ${peers} peers: ${told(status)}; exit code ${ended.status}, ${ended.stdout.length} bytes`,
    );
    console.log(`of that Node's start alone: ${told(node)}`);
    console.log(`and /report, asked from here: ${told(server_)}`);
    console.log(`the ratio of weft status to Node's start: ${(median(status) / median(node)).toFixed(2)}`);
    console.log(`weft report: ${weft('report').stdout.length} bytes at ${peers} peers and ${PODS} pods`);
    server.stdin.end();
    await once(server, 'exit');
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

const [mode, peers, runDirectory = ''] = process.argv.slice(2);
if (mode === 'serve') await serve(Number(peers), runDirectory);
else await measure(Number(mode ?? 1000));
