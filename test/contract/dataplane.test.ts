// The whole data plane process over a real TUN and real sockets, with a keeper and a spare, against itself and the kernel's vxlan device:
//
//        a: weft0 10.32.0.1          b: weft0 10.32.0.65         c: vxlan device 10.32.0.129
//           192.168.7.1                 192.168.7.2                 192.168.7.3 (programmed as flannel does it)
//               └──────────── bridge in a namespace of its own ─────────┘
//
// Needs root and /dev/net/tun. The kernel device over veth leaves inner TCP checksums partial and sends datagrams of up to 64 kB.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';

import { ipv4 } from '../../proto/address.ts';
import { processGaugeColumn } from '../../proto/dataplane-stats.ts';
import { overlayFrame, udpPacket } from '../support/dataplane-rig.ts';
import {
  ADDRESS,
  MAC_BASE,
  PORT,
  RANGE,
  configureTun,
  counted,
  counter,
  dropped,
  endNodes,
  generation,
  inside,
  ip,
  keeper,
  namespace,
  startNodes,
  writeTable,
} from './dataplane-nodes.ts';
import { LIMIT_MS, talk, until } from './talker.ts';

const skip =
  process.getuid?.() !== 0
    ? 'needs root: network namespaces and a TUN device'
    : existsSync('/dev/net/tun')
      ? false
      : 'needs /dev/net/tun';

before(async () => {
  if (skip === false) await startNodes();
});
after(endNodes);

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
    const receiver = talk(namespace(to), 'dataplane-traffic.ts', 'receive', ADDRESS[to], '5001');
    await receiver.line(/^open/);
    const sender = talk(namespace(from), 'dataplane-traffic.ts', 'send', ADDRESS[to], '5001', '50000000');
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
    const echo = talk(namespace(to), 'dataplane-traffic.ts', 'echo', ADDRESS[to], '5002');
    await echo.line(/^open/);
    const sizes = ['1', '2', '63', '64', '1399', '1421', '1422', '1423', '1450', '5000', '20000'];
    const asker = talk(
      namespace(from),
      'dataplane-traffic.ts',
      'ask',
      ADDRESS[from],
      ADDRESS[to],
      '5002',
      ...sizes,
    );
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
  await talk(
    namespace('a'),
    'dataplane-traffic.ts',
    'raw',
    '192.168.7.1',
    '192.168.7.2',
    String(PORT),
    ...hex,
  ).line(/^sent 4/);
  for (const [index, reason] of reasons.entries()) {
    await until(() => dropped('b', 2 + 1, reason) === before[index]! + 1, `${reason} is counted`); // !: same length
  }
});

test('an unknown sender: dropped and counted', { skip }, async () => {
  ip('-n', namespace('c'), 'addr', 'add', '192.168.7.99/24', 'dev', 'eth0');
  const frames = Array.from({ length: 50 }, () => '08000000');
  await talk(
    namespace('c'),
    'dataplane-traffic.ts',
    'raw',
    '192.168.7.99',
    '192.168.7.1',
    String(PORT),
    ...frames,
  ).line(/^sent 50/);
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
  await ended; // its output closes while the last that inherited it is ending
  for (const role of roles) await until(() => !isRunning(role), `process ${role} ends`);
});

/** Not gone and not a zombie that its new parent has yet to reap. */
function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}
