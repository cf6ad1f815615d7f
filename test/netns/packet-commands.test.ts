// weft capture, ping and trace on real nodes of two workers each: copies of packets while the traffic goes on, with readers and workers that
// die; round trips to a node, a pod and what is dead; the way of a packet. Nothing of a probe may be lost by any capture.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { type CommandResult, ENCLOSURE, tryCommand } from '../lab/command.ts';
import { until } from '../lab/condition.ts';
import { LAB_DIRECTORY, enterEnclosure } from '../lab/enclosure.ts';
import { type Lab, type LabNode, createLab } from '../lab/lab.ts';
import type { Pod } from '../lab/pod.ts';
import { type LabProcess, startProcess } from '../lab/process.ts';

await enterEnclosure();

const WEFT = fileURLToPath(new URL('../../agent/cli/weft.ts', import.meta.url));
const CAPTURING = 'Capturing on 2 workers';

let lab: Lab;
let node: LabNode;
let other: LabNode;
let from: Pod;
let to: Pod;

before(async () => {
  lab = await createLab();
  [node, other] = (await lab.addNodes(['node-1', 'node-2'], {
    environment: { WEFT_DATAPLANE_WORKERS: '2' },
  })) as [LabNode, LabNode]; // as: two were added
  from = await node.addPod('from');
  to = await other.addPod('to');
  await lab.endpoint(to);
  await until(async () => (await node.agent.status('/status/connections')).includes('established'), {
    what: 'the nodes to know each other',
  });
});

const captures: LabProcess[] = [];

after(async () => {
  for (const capture of captures) await capture.kill();
  await lab.close();
});

const commandOf = (
  { name, address }: LabNode,
  words: readonly string[],
): { command: string[]; env: Record<string, string> } => ({
  command: [process.execPath, WEFT, ...words],
  env: { HOSTNAME: name, WEFT_NODE_IP: address },
});

function weft(on: LabNode, ...words: readonly string[]): Promise<CommandResult> {
  const { command, env } = commandOf(on, words);
  return tryCommand(on.namespace.place, command, { env });
}

let started = 0;

/** Resolves when the data plane has taken it up. */
async function startCapture(...words: readonly string[]): Promise<LabProcess> {
  const { command, env } = commandOf(node, ['capture', ...words]);
  const logFile = `${LAB_DIRECTORY}/capture-${(started += 1)}.log`;
  const capture = startProcess({ place: node.namespace.place, command, env, logFile });
  captures.push(capture);
  await until(() => readFileSync(logFile, 'utf8').includes(CAPTURING), { what: 'the capture to begin' });
  return capture;
}

const linesOf = ({ logFile }: LabProcess, part: string): number =>
  readFileSync(logFile, 'utf8')
    .split('\n')
    .filter((line) => line.includes(part)).length;

/** Workers that have a capture's file mapped. */
const mapping = (): number =>
  node.agent
    .dataplanes()
    .workers.filter((pid) => readFileSync(`/proc/${pid}/maps`, 'utf8').includes('/capture.')).length;

/** Runs the act under a probe of which nothing may be lost. */
async function withoutLoss(act: () => Promise<void>): Promise<number> {
  const probe = await (await lab.endpoint(from)).startProbe(to.address, { perSecond: 1000 });
  await until(async () => (await probe.answered()) > 200, { what: 'answers to the probe' });
  await act();
  const calm = await probe.answered();
  await until(async () => (await probe.answered()) > calm + 200, { what: 'answers to the probe afterwards' });
  const sent = await probe.finish();
  const { lost, sendErrors } = await probe.report();
  assert.deepEqual({ lost, sendErrors }, { lost: 0, sendErrors: 0 }, `of ${sent}`);
  return sent;
}

test('inner, outer and refused packets under a TCP stream, as a file that tcpdump reads; no probe is lost', async (t) => {
  const file = `${LAB_DIRECTORY}/out.pcapng`;
  const sent = await withoutLoss(async () => {
    const capture = await startCapture('--inner', '--outer', '--dropped', '-w', file);
    const endpoint = await lab.endpoint(from);
    const { seconds, sentHash, receivedHash } = await endpoint.transfer(to.address, 200_000_000, {
      boundMs: 60_000,
    });
    assert.equal(sentHash, receivedHash);
    t.diagnostic(`200 MB in ${seconds.toFixed(2)} s while capturing`);
    // Nobody's. While the command still reads the stream, a refused packet may be left out like any other.
    await until(
      async () => {
        await from.tryExec(['ping', '-c', '1', '-W', '1', '10.47.255.9']);
        return readFileSync(file).includes('dropped: egress_no_owner'); // the packet's comment
      },
      { what: 'a refused packet in the capture', intervalMs: 200 },
    );
    await capture.stop();
    assert.equal((await capture.ended).code, 0);
    t.diagnostic(readFileSync(capture.logFile, 'utf8').trim().split('\n').at(-1) ?? '');
  });
  t.diagnostic(`${sent} probes, none lost`);
  const read = async (...words: readonly string[]): Promise<readonly string[]> => {
    const { stdout, stderr, status } = await tryCommand(ENCLOSURE, ['tcpdump', '-nn', '-r', file, ...words]);
    assert.equal(status, 0, stderr);
    return stdout.trim().split('\n');
  };
  assert.ok((await read('udp', 'port', '6784')).length > 1000, 'datagrams of the tunnel');
  assert.ok((await read('src', 'host', from.address, 'and', 'tcp')).length > 100, 'inner packets out');
  assert.ok((await read('src', 'host', to.address, 'and', 'udp')).length > 100, 'inner packets in');
  assert.match((await read('dst', 'host', '10.47.255.9')).join(), /ICMP echo request/);
});

test('filters, and an end after a count', async () => {
  const pings = from.tryExec(['ping', '-c', '60', '-i', '0.1', '-W', '1', to.address]);
  const { stdout, stderr, status } = await weft(
    node,
    'capture',
    '--inner',
    '--peer',
    'node-2',
    '--protocol',
    'icmp',
    '--host',
    from.address,
    '--count',
    '6',
  );
  assert.equal(status, 0, stderr);
  const lines = stdout.trim().split('\n');
  assert.equal(lines.length, 6);
  assert.ok(
    lines.every((line) => /inner (out|in ) node-2 \| .* icmp echo re(quest|ply)/.test(line)),
    stdout,
  );
  assert.match(stderr, /6 captured, 0 left out/);
  assert.equal(
    (await weft(node, 'capture', '--peer', 'node-9')).stderr.trim(),
    'Cannot find a peer "node-9"; there is: node-2',
  );
  await pings;
});

test('a capture whose command is killed or hangs ends by itself, and another may follow at once', async () => {
  await withoutLoss(async () => {
    const killed = await startCapture('--inner');
    assert.equal(mapping(), 2);
    assert.match(
      (await weft(node, 'capture', '--seconds', '1')).stderr,
      /another "weft capture" runs on this node/,
    );
    await killed.kill();
    const second = await startCapture('--inner');
    await until(() => linesOf(second, 'inner out node-2') > 0, { what: 'packets in the second capture' });
    process.kill(second.pid, 'SIGSTOP');
    await until(() => mapping() === 0, { what: 'the data plane to give up a capture that nobody reads' });
    process.kill(second.pid, 'SIGCONT');
    await until(() => mapping() === 2, { what: 'the capture to go on' });
    await second.stop();
    await until(() => mapping() === 0, { what: 'the data plane to end the capture' });
  });
});

test('a capture goes on when workers are killed, and through an upgrade of the agent', async () => {
  await withoutLoss(async () => {
    const capture = await startCapture('--inner');
    const goesOn = async (what: string): Promise<void> => {
      const before = linesOf(capture, 'inner out node-2');
      await until(() => linesOf(capture, 'inner out node-2') > before + 100, {
        what: `packets captured after ${what}`,
      });
    };
    await goesOn('its begin');
    for (const pid of node.agent.dataplanes().workers) {
      process.kill(pid, 'SIGKILL');
      await until(() => node.agent.dataplanes().workers.every((worker) => worker !== 0 && worker !== pid), {
        what: 'a successor',
      });
    }
    await until(() => mapping() === 2, { what: 'the successors to find the capture' });
    await goesOn('the workers were killed');
    const successor = node.agent.startBeside({ WEFT_DATAPLANE_WORKERS: '2' });
    await successor.ready();
    await successor.replaceOld();
    await until(() => mapping() === 2, { what: 'the new agent to find the capture' });
    await goesOn('the upgrade');
    await capture.stop();
  });
});

test('trace: sent, delivered, refused', async () => {
  const sentTo = await weft(node, 'trace', 'default/from', to.address, '--port', '80');
  assert.equal(sentTo.status, 0, sentTo.stderr);
  assert.match(sentTo.stdout, /=> sent to node-2; there it goes on: weft trace/);
  const there = await weft(other, 'trace', from.address, to.address);
  assert.match(there.stdout, /=> delivered here: to default\/to by vethwe/);
  const nobody = await weft(node, 'trace', 'from', '10.47.255.9', '-o', 'json');
  assert.equal(nobody.status, 1);
  assert.equal(JSON.parse(nobody.stdout).verdict.reason, 'egress_no_owner');
  const table = [
    'nft',
    'add table ip foreign; add chain ip foreign f { type filter hook forward priority 0; policy drop; }',
  ];
  await tryCommand(node.namespace.place, table);
  assert.match(
    (await weft(node, 'trace', 'from', to.address)).stdout,
    /dropped here: ip foreign f .* its policy drops it/,
  );
  await tryCommand(node.namespace.place, ['nft', 'delete table ip foreign']);
  assert.match(
    (await weft(node, 'trace', 'nothing', to.address)).stderr,
    /kubectl get pod -n NAMESPACE nothing/,
  );
});

test('ping: a node and a pod, without and with ICMP sockets; a tunnel that is blocked, a pod that is down, a node that is gone', async () => {
  const ping = (...words: readonly string[]): Promise<CommandResult> =>
    weft(node, 'ping', ...words, '--count', '2', '--interval', '0.2');
  const allow = (range: string): Promise<CommandResult> =>
    tryCommand(node.namespace.place, ['sysctl', '-q', '-w', `net.ipv4.ping_group_range=${range}`]);
  for (const [range, means] of [
    ['1 0', 'udp'],
    ['0 2147483647', 'icmp'],
  ] as const) {
    await allow(range);
    const pings = ['node-2', to.address, 'default/from', 'node-1'].map((target) => ping(target));
    for (const { stdout, stderr, status } of await Promise.all(pings)) {
      assert.equal(status, 0, `${stdout}${stderr}`);
      assert.match(
        stdout,
        new RegExp(`2 sent, 2 answered, 0% lost, round trip min/avg/max .* \\(${means}\\)`),
      );
    }
  }
  const tcp = await ping(to.address, '--port', '81');
  assert.match(tcp.stdout, /node .* \(icmp\)\npod .* 2 answered.* \(tcp 81\)/);
  assert.match(
    (await ping('node-2', '--port', '81')).stdout,
    /node .* 2 answered.* \(tcp 81\)\nnode-2 answers/,
  );
  await to.exec(['ip', 'link', 'set', 'eth0', 'down']);
  const down = await ping(to.address);
  assert.equal(down.status, 1);
  assert.match(down.stdout, /node-2 answers, and .* does not: the pod is gone/);
  await to.exec(['ip', 'link', 'set', 'eth0', 'up']);
  await tryCommand(other.namespace.place, [
    'nft',
    'add table ip t; add chain ip t c { type filter hook input priority -400; }; add rule ip t c udp dport 6784 drop',
  ]);
  const blocked = await ping('node-2');
  assert.equal(blocked.status, 1);
  assert.match(blocked.stdout, /\d probes sent, 0 answered[^]*is UDP 6784 open between the nodes both ways/);
  await other.namespace.setCable(false);
  const gone = await ping(to.address);
  assert.equal(gone.status, 1);
  assert.match(gone.stdout, /Nothing of node-2 answers/);
});
