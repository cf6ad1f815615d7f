// The whole data plane process over a real TUN and real sockets, with a keeper and a spare, against itself and the kernel's vxlan device:
//
//        a: weft0 10.32.0.1          b: weft0 10.32.0.65         c: vxlan device 10.32.0.129
//           192.168.7.1                 192.168.7.2                 192.168.7.3 (programmed as flannel does it)
//               └──────────── bridge in a namespace of its own ─────────┘
//
// Needs root and /dev/net/tun. The kernel device over veth leaves inner TCP checksums partial and sends datagrams of up to 64 kB.
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { ipv4, mac, vni } from '../../proto/address.ts';
import {
  type Counter,
  STATS_FILE,
  counterColumn,
  dropColumn,
  processGaugeColumn,
  statsIndex,
} from '../../proto/dataplane-stats.ts';
import type { DropReason } from '../../proto/drop-reason.ts';
import { encodeForwardingTable } from '../../proto/forwarding-codec.ts';
import { overlayFrame, udpPacket } from '../support/dataplane-rig.ts';

const skip =
  process.getuid?.() !== 0
    ? 'needs root: network namespaces and a TUN device'
    : existsSync('/dev/net/tun')
      ? false
      : 'needs /dev/net/tun';

const LIMIT_MS = 20_000;
const PORT = 6784;
const RANGE = 0x0a20_0000;
const UNDERLAY = 0xc0a8_0700;
const MAC_BASE = 0x0e00_0000_0000;
const NODES = ['a', 'b', 'c'] as const;
type Node = (typeof NODES)[number];
const ADDRESS: Record<Node, string> = { a: '10.32.0.1', b: '10.32.0.65', c: '10.32.0.129' };
const directory = mkdtempSync(join(tmpdir(), 'weft-dataplane-'));
const namespace = (name: string): string => `weft-test-${process.pid}-${name}`;
const runDirectory = (node: Node): string => join(directory, node);

const ip = (...words: string[]): string => execFileSync('ip', words, { encoding: 'utf8' });
const inside = (node: Node, ...words: string[]): string =>
  execFileSync('ip', ['netns', 'exec', namespace(node), ...words], { encoding: 'utf8', stdio: 'pipe' });

/** A process inside a namespace and the lines that it has said. */
interface Talker {
  readonly child: ChildProcess;
  readonly lines: string[];
  /** The next line that matches; fails after LIMIT_MS. */
  line(pattern: RegExp): Promise<string>;
  readonly ended: Promise<number | null>;
}

function talk(node: Node, script: string, ...words: string[]): Talker {
  const path = join(import.meta.dirname, script);
  const child = spawn('ip', ['netns', 'exec', namespace(node), process.execPath, path, ...words], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines: string[] = [];
  const waiting: (() => void)[] = [];
  let rest = '';
  child.stdout.on('data', (chunk: Buffer) => {
    const parts = (rest + chunk.toString()).split('\n');
    rest = parts.pop() ?? '';
    lines.push(...parts);
    for (const wake of waiting.splice(0)) wake();
  });
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
  return {
    child,
    lines,
    ended,
    async line(pattern) {
      const signal = AbortSignal.timeout(LIMIT_MS);
      for (;;) {
        const index = lines.findIndex((text) => pattern.test(text));
        if (index >= 0) return lines.splice(0, index + 1).at(-1) ?? '';
        await new Promise<void>((resolve, reject) => {
          waiting.push(resolve);
          signal.onabort = () =>
            reject(new Error(`${script} ${words.join(' ')} never said ${pattern.source}`));
        });
      }
    },
  };
}

const keepers = new Map<Node, Talker>();
const keeper = (node: Node): Talker => keepers.get(node) ?? assert.fail(`no keeper on ${node}`);

function writeTable(node: Node, peers: readonly Node[], generation: number): void {
  const owners = new Uint16Array(2 ** 14);
  const number = (name: Node): number => NODES.indexOf(name) + 1;
  owners[number(node) - 1] = 1;
  for (const peer of peers) owners[number(peer) - 1] = 2 + number(peer);
  const bytes = encodeForwardingTable({
    generation,
    range: { base: ipv4(RANGE), prefixLength: 12 },
    blockPrefixLength: 26,
    vni: vni(1),
    vtepMac: mac(MAC_BASE + number(node)),
    gateway: ipv4(RANGE + (number(node) - 1) * 64 + 1),
    peers: peers.map((peer) => ({
      slot: number(peer),
      address: ipv4(UNDERLAY + number(peer)),
      port: PORT,
      vtepMac: mac(MAC_BASE + number(peer)),
      probes: peer !== 'c',
    })),
    owners,
  });
  mkdirSync(runDirectory(node), { recursive: true });
  writeFileSync(join(runDirectory(node), 'forwarding-table.new'), bytes);
  renameSync(join(runDirectory(node), 'forwarding-table.new'), join(runDirectory(node), 'forwarding-table'));
}

function counted(node: Node, row: number, column: number): number {
  const bytes = readFileSync(join(runDirectory(node), STATS_FILE));
  return bytes.readDoubleLE(statsIndex(row, column) * 8);
}
const dropped = (node: Node, row: number, reason: DropReason): number =>
  counted(node, row, dropColumn(reason));
const counter = (node: Node, row: number, name: Counter): number => counted(node, row, counterColumn(name));

const generation = (node: Node): number => counted(node, 0, processGaugeColumn('generation'));

async function until(condition: () => boolean, what: string): Promise<void> {
  const signal = AbortSignal.timeout(LIMIT_MS);
  while (!condition()) {
    assert.ok(!signal.aborted, `never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function makeUnderlay(): void {
  for (const name of ['u', ...NODES]) {
    ip('netns', 'add', namespace(name));
    ip('-n', namespace(name), 'link', 'set', 'lo', 'up');
  }
  ip('-n', namespace('u'), 'link', 'add', 'br0', 'type', 'bridge');
  ip('-n', namespace('u'), 'link', 'set', 'br0', 'up');
  for (const [index, node] of NODES.entries()) {
    ip(
      '-n',
      namespace('u'),
      'link',
      'add',
      `v${node}`,
      'type',
      'veth',
      'peer',
      'name',
      'eth0',
      'netns',
      namespace(node),
    );
    ip('-n', namespace('u'), 'link', 'set', `v${node}`, 'master', 'br0', 'up');
    ip('-n', namespace(node), 'addr', 'add', `192.168.7.${index + 1}/24`, 'dev', 'eth0');
    ip('-n', namespace(node), 'link', 'set', 'eth0', 'up');
  }
}

/** Flannel's programming of a kernel device: one neighbour, FDB entry and route per peer. */
function makeKernelPeer(): void {
  const n = namespace('c');
  ip(
    '-n',
    n,
    'link',
    'add',
    'vx0',
    'address',
    '0e:00:00:00:00:03',
    'mtu',
    '1450',
    'type',
    'vxlan',
    'id',
    '1',
    'dstport',
    String(PORT),
    'local',
    '192.168.7.3',
    'nolearning',
  );
  ip('-n', n, 'link', 'set', 'vx0', 'up');
  ip('-n', n, 'addr', 'add', `${ADDRESS.c}/32`, 'dev', 'vx0');
  for (const [index, base] of ['10.32.0.0', '10.32.0.64'].entries()) {
    const lladdr = `0e:00:00:00:00:0${index + 1}`;
    ip('-n', n, 'neigh', 'add', base, 'lladdr', lladdr, 'dev', 'vx0', 'nud', 'permanent');
    execFileSync('bridge', [
      '-n',
      n,
      'fdb',
      'add',
      lladdr,
      'dev',
      'vx0',
      'dst',
      `192.168.7.${index + 1}`,
      'self',
      'permanent',
    ]);
    ip('-n', n, 'route', 'add', `${base}/26`, 'via', base, 'dev', 'vx0', 'onlink', 'src', ADDRESS.c);
  }
}

async function startWeft(node: Node, index: number): Promise<void> {
  writeTable(
    node,
    NODES.filter((name) => name !== node),
    1,
  );
  const talker = talk(
    node,
    'dataplane-keeper.ts',
    runDirectory(node),
    `192.168.7.${index + 1}`,
    String(PORT),
  );
  keepers.set(node, talker);
  await talker.line(/^open/);
  configureTun(node);
  await until(() => generation(node) === 1, 'the active process uses the table');
}

/** As control does it. */
function configureTun(node: Node): void {
  ip('-n', namespace(node), 'addr', 'add', `${ADDRESS[node]}/32`, 'dev', 'weft0');
  ip('-n', namespace(node), 'link', 'set', 'weft0', 'mtu', '1450', 'txqueuelen', '10000', 'up');
  ip('-n', namespace(node), 'route', 'add', '10.32.0.0/12', 'dev', 'weft0', 'src', ADDRESS[node]);
  inside(node, 'sysctl', '-qw', 'net.ipv4.conf.weft0.accept_local=1'); // ICMP errors come from our own address
}

before(async () => {
  if (skip !== false) return;
  makeUnderlay();
  makeKernelPeer();
  await startWeft('a', 0);
  await startWeft('b', 1);
});

after(async () => {
  for (const { child } of keepers.values()) child.stdin?.end();
  await Promise.all([...keepers.values()].map(async ({ ended }) => ended));
  for (const name of skip === false ? ['u', ...NODES] : []) ip('netns', 'del', namespace(name));
  rmSync(directory, { recursive: true, force: true });
});

test('ping: both ways, to a Weft node and to a kernel device', { skip }, () => {
  for (const [from, to] of [
    ['a', 'b'],
    ['b', 'a'],
    ['a', 'c'],
    ['c', 'b'],
  ] as const) {
    const output = inside(from, 'ping', '-c', '3', '-i', '0.05', '-W', '5', ADDRESS[to]);
    assert.match(output, / 0% packet loss/);
  }
});

test('a block that nobody owns: host unreachable, from the gateway', { skip }, () => {
  assert.throws(
    () => inside('a', 'ping', '-c', '1', '-W', '5', '10.40.0.1'),
    (error: Error & { stdout: string }) =>
      /From 10\.32\.0\.1 .*Destination Host Unreachable/.test(error.stdout),
  );
  assert.ok(dropped('a', 0, 'egress_no_owner') >= 1);
});

for (const [from, to] of [
  ['a', 'b'],
  ['a', 'c'],
  ['c', 'a'],
] as const) {
  test(`TCP ${from} → ${to}: 50 MB arrive as they were sent`, { skip }, async () => {
    const receiver = talk(to, 'dataplane-traffic.ts', 'receive', ADDRESS[to], '5001');
    await receiver.line(/^open/);
    const sender = talk(from, 'dataplane-traffic.ts', 'send', ADDRESS[to], '5001', '50000000');
    const sent = await sender.line(/50000000$/);
    assert.equal(await receiver.line(/ \d+$/), sent);
    await Promise.all([sender.ended, receiver.ended]);
  });
}

for (const [from, to] of [
  ['a', 'b'],
  ['a', 'c'],
  ['c', 'b'],
] as const) {
  test(`UDP ${from} → ${to} and back: every size, fragmented above the MTU`, { skip }, async () => {
    const echo = talk(to, 'dataplane-traffic.ts', 'echo', ADDRESS[to], '5002');
    await echo.line(/^open/);
    const sizes = ['1', '2', '63', '64', '1399', '1421', '1422', '1423', '1450', '5000', '20000'];
    const asker = talk(from, 'dataplane-traffic.ts', 'ask', ADDRESS[from], ADDRESS[to], '5002', ...sizes);
    assert.equal(await asker.line(/^echoed/), `echoed ${sizes.length}`);
    echo.child.kill('SIGTERM');
    await Promise.all([asker.ended, echo.ended]);
  });
}

test('probes: answered by the Weft node, not sent to the kernel device', { skip }, async () => {
  await until(() => counter('a', 2 + 2, 'probes_answered') > 0, 'b answers a probe');
  await until(() => counter('b', 2 + 1, 'probes_answered') > 0, 'a answers a probe');
  assert.equal(counter('a', 2 + 3, 'probes_sent'), 0);
});

test('forged frames of a peer: dropped and counted under their reasons', { skip }, async () => {
  const packet = (source: number, destination: number): Uint8Array =>
    udpPacket({ source: ipv4(source), destination: ipv4(destination) }, { payload: new Uint8Array(8) });
  const fields = { destination: MAC_BASE + 2, source: MAC_BASE + 1, vni: 1 };
  const frames = [
    overlayFrame(packet(RANGE + 130, RANGE + 65), fields),
    overlayFrame(packet(RANGE + 5, RANGE + 130), fields),
    overlayFrame(packet(RANGE + 5, RANGE + 65), { ...fields, vni: 2 }),
    new Uint8Array([1, 2, 3]),
  ];
  const reasons = [
    'inner_source_not_owned',
    'inner_destination_not_local',
    'vxlan_vni',
    'truncated',
  ] as const;
  const before = reasons.map((reason) => dropped('b', 2 + 1, reason));
  const hex = frames.map((frame) => Buffer.from(frame).toString('hex'));
  await talk('a', 'dataplane-traffic.ts', 'raw', '192.168.7.1', '192.168.7.2', String(PORT), ...hex).line(
    /^sent 4/,
  );
  for (const [index, reason] of reasons.entries()) {
    await until(() => dropped('b', 2 + 1, reason) === before[index]! + 1, `${reason} is counted`); // !: same length
  }
});

test('an unknown sender: dropped and counted', { skip }, async () => {
  ip('-n', namespace('c'), 'addr', 'add', '192.168.7.99/24', 'dev', 'eth0');
  const frames = Array.from({ length: 50 }, () => '08000000');
  await talk('c', 'dataplane-traffic.ts', 'raw', '192.168.7.99', '192.168.7.1', String(PORT), ...frames).line(
    /^sent 50/,
  );
  await until(() => dropped('a', 0, 'unknown_sender') === 50, '50 datagrams are counted');
});

test('kill -9 under traffic: the spare goes on, nothing is lost', { skip }, async () => {
  const words = [
    'netns',
    'exec',
    namespace('a'),
    'ping',
    '-q',
    '-i',
    '0.002',
    '-c',
    '1500',
    '-W',
    '10',
    ADDRESS.b,
  ];
  const ping = spawn('ip', words, { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  ping.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const ended = new Promise((resolve) => ping.on('close', resolve));
  const egressed = (): number => counter('a', 2 + 2, 'egress_packets');
  for (const node of ['a', 'b', 'a'] as const) {
    const target = egressed() + 200;
    await until(() => egressed() >= target, '200 pings went out');
    keeper(node).lines.length = 0;
    keeper(node).child.stdin?.write('kill\n');
    await keeper(node).line(/^active \d+ restarts/);
  }
  await ended;
  assert.match(output, /1500 packets transmitted, 1500 received/);
});

test('another table: taken while running', { skip }, async () => {
  writeTable('a', ['c'], 2);
  keeper('a').child.stdin?.write('table\n');
  await until(() => generation('a') === 2, 'the table without b is in use');
  assert.throws(() => inside('a', 'ping', '-c', '1', '-W', '5', ADDRESS.b), /Command failed/);
  writeTable('a', ['b', 'c'], 3);
  keeper('a').child.stdin?.write('table\n');
  await until(() => generation('a') === 3, 'the table with b is in use');
  assert.match(inside('a', 'ping', '-c', '1', '-W', '5', ADDRESS.b), / 0% packet loss/);
});

test('a TUN that is down: tun_write_failed, and packets pass again once it is up', { skip }, async () => {
  const before = dropped('b', 2 + 1, 'tun_write_failed');
  ip('-n', namespace('b'), 'link', 'set', 'weft0', 'down');
  assert.throws(() => inside('a', 'ping', '-c', '2', '-i', '0.1', '-W', '1', ADDRESS.b), /Command failed/);
  await until(() => dropped('b', 2 + 1, 'tun_write_failed') === before + 2, 'both pings are counted');
  ip('-n', namespace('b'), 'link', 'set', 'weft0', 'up');
  ip('-n', namespace('b'), 'route', 'add', '10.32.0.0/12', 'dev', 'weft0', 'src', ADDRESS.b);
  assert.match(inside('a', 'ping', '-c', '1', '-W', '5', ADDRESS.b), / 0% packet loss/);
});

test('no way to a peer: egress_send_failed in its row, others are reached', { skip }, async () => {
  const before = dropped('a', 2 + 2, 'egress_send_failed');
  ip('-n', namespace('a'), 'route', 'add', 'unreachable', '192.168.7.2/32');
  assert.throws(() => inside('a', 'ping', '-c', '2', '-i', '0.1', '-W', '1', ADDRESS.b), /Command failed/);
  await until(() => dropped('a', 2 + 2, 'egress_send_failed') === before + 2, 'both pings are counted');
  assert.match(inside('a', 'ping', '-c', '1', '-W', '5', ADDRESS.c), / 0% packet loss/);
  ip('-n', namespace('a'), 'route', 'del', 'unreachable', '192.168.7.2/32');
  assert.match(inside('a', 'ping', '-c', '1', '-W', '5', ADDRESS.b), / 0% packet loss/);
});

test('somebody deletes the TUN: it is made again without a restart', { skip }, async () => {
  const processId = counted('a', 0, processGaugeColumn('process_id'));
  ip('-n', namespace('a'), 'link', 'del', 'weft0');
  await until(() => {
    try {
      return ip('-n', namespace('a'), 'link', 'show', 'weft0') !== '';
    } catch {
      return false;
    }
  }, 'there is a TUN again');
  configureTun('a');
  assert.match(inside('a', 'ping', '-c', '1', '-W', '5', ADDRESS.b), / 0% packet loss/);
  assert.equal(counted('a', 0, processGaugeColumn('process_id')), processId);
});

test('drain: the active process and its spare end by themselves', { skip }, async () => {
  keeper('b').child.stdin?.end();
  const never = AbortSignal.timeout(LIMIT_MS);
  const late = new Promise<string>((resolve) => (never.onabort = () => resolve('still running')));
  assert.equal(await Promise.race([keeper('b').ended, late]), 0);
});

test('kill -9 of the keeper: the active process and its spare end by themselves', { skip }, async () => {
  const { child, ended } = keeper('a');
  const pid = child.pid ?? assert.fail('the keeper runs');
  const roles = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number);
  assert.equal(roles.length, 2);
  process.kill(pid, 'SIGKILL');
  await ended; // its output closes when the last that inherited it ends
  for (const role of roles) assert.equal(isRunning(role), false, `process ${role}`);
});

/** Not gone and not a zombie that its new parent has yet to reap. */
function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}
