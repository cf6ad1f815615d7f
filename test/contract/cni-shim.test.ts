// The CNI shim as runtimes execute it, plain (static, musl) and under AddressSanitizer and UBSan, with real network namespaces:
//
//   shim (enters weft-test-<pid>-pod) ── unix socket, request + two descriptors ──▶ scripted agent (this process)
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { Arena } from '../../agent/linux/arena.ts';
import { check, libc } from '../../agent/linux/libc.ts';
import { createPodDescriptorsCheck } from '../../agent/linux/pod-descriptors.ts';
import { decodeRequest, encodeResponse } from '../../proto/shim-codec.ts';
import { MAX_REQUEST_BYTES } from '../../proto/shim-message.ts';
import { until } from '../lab/condition.ts';
import { type Finished, ShimBench, buildShim } from './shim-bench.ts';

const POD = `weft-test-${process.pid}-pod`;
const NETNS = `/run/netns/${POD}`;
const CONFIG = '{"cniVersion":"1.0.0","name":"weft","type":"weft"}';
const QUICK = { WEFT_CNI_DEADLINE_MS: '250' };

const variables = (command: string, more: Record<string, string> = {}): Record<string, string> => ({
  CNI_COMMAND: command,
  CNI_CONTAINERID: 'c1',
  CNI_IFNAME: 'eth0',
  CNI_NETNS: NETNS,
  CNI_ARGS: 'IgnoreUnknown=1',
  CNI_PATH: '/opt/cni/bin',
  ...more,
});

const assertError = ({ status, json }: Finished, code: number, message: RegExp): void => {
  assert.equal(json.code, code, JSON.stringify(json));
  assert.match(json.msg ?? '', message);
  assert.equal(status, 1);
};

/** RTM_NEWLINK of a bridge through a netlink socket that was passed; 0 or the negative errno that the kernel answers. */
function createBridge(netlinkFd: number, name: string): number {
  const request = new Arena(65536).allocate(4096);
  const { view, bytes } = request;
  const attribute = (at: number, type: number, value: Uint8Array): number => {
    view.setUint16(at, 4 + value.length, true);
    view.setUint16(at + 2, type, true);
    bytes.set(value, at + 4);
    return at + Math.ceil((4 + value.length) / 4) * 4;
  };
  const text = (word: string): Uint8Array => new TextEncoder().encode(`${word}\0`);
  const linkInfo = attribute(32, 3, text(name)); // IFLA_IFNAME
  const end = attribute(linkInfo + 4, 1, text('bridge')); // IFLA_INFO_KIND
  view.setUint16(linkInfo, end - linkInfo, true);
  view.setUint16(linkInfo + 2, 18, true); // IFLA_LINKINFO
  view.setUint32(0, end, true);
  view.setUint16(4, 16, true); // RTM_NEWLINK
  view.setUint16(6, 0x605, true); // REQUEST | ACK | CREATE | EXCL
  check(libc.send(netlinkFd, request.address, end, 0), () => 'send a netlink request');
  check(libc.recv(netlinkFd, request.address, 4096, 0), () => 'receive a netlink answer');
  return view.getInt32(16, true);
}

before(() => execFileSync('ip', ['netns', 'add', POD]));
after(() => execFileSync('ip', ['netns', 'del', POD]));

const programs = buildShim();

for (const [form, program] of Object.entries(programs)) {
  describe(`CNI shim (${form})`, () => {
    test('forwards every verb: environment of CNI_ and WEFT_ only, stdin byte for byte, descriptors where there is a namespace', async (context) => {
      const bench = new ShimBench(context, program);
      bench.listen(encodeResponse({ status: 7, json: '{"answer":"verbatim"}\n' }));
      const stdin = Uint8Array.from([...new TextEncoder().encode(CONFIG), 0, 255, 10]);
      const descriptors = { ADD: 2, CHECK: 2, DEL: 2, STATUS: 0, GC: 0, VERSION: 0 };
      for (const [command, count] of Object.entries(descriptors)) {
        const sent = variables(command, { WEFT_X: 'a=b', CNIX: 'no', SECRET: 'no', CNI_EMPTY: '' });
        const finished = await bench.run({ variables: sent, stdin });
        assert.deepEqual([finished.status, finished.stdout], [7, '{"answer":"verbatim"}\n']);
        const request = bench.received.pop();
        assert.equal(request?.descriptors, count, command);
        assert.deepEqual(request?.stdin, stdin);
        const { CNIX: _cnix, SECRET: _secret, ...expected } = sent;
        const own = { WEFT_CNI_SOCKET: bench.socket, WEFT_TOMBSTONE_DIR: bench.tombstones };
        assert.deepEqual(Object.fromEntries(request?.environment ?? []), { ...expected, ...own });
      }
      const { CNI_NETNS: _netns, ...withoutNamespace } = variables('DEL');
      for (const form of [withoutNamespace, variables('DEL', { CNI_NETNS: '' })]) {
        assert.equal((await bench.run({ variables: form, stdin })).status, 7);
        assert.equal(bench.received.pop()?.descriptors, 0);
      }
    });

    test("the socket that is passed acts in the pod's namespace", async (context) => {
      const bench = new ShimBench(context, program);
      const podCheck = createPodDescriptorsCheck();
      const link = `br-${form}`;
      const seen: unknown[] = [];
      bench.listen(async ({ descriptors: [netlinkFd = -1, netnsFd = -1] }) => {
        seen.push(podCheck({ netlinkFd, netnsFd }), podCheck({ netlinkFd: netnsFd, netnsFd }));
        seen.push(podCheck({ netlinkFd, netnsFd: netlinkFd }), createBridge(netlinkFd, link));
        return encodeResponse({ status: 0, json: '' });
      });
      assert.deepEqual(await bench.run({ variables: variables('ADD'), stdin: CONFIG }), {
        status: 0,
        stdout: '',
        json: {},
      });
      assert.deepEqual(seen, [
        { ok: true, value: { netnsInode: statSync(NETNS).ino } },
        { ok: false, reason: 'not-a-netlink-socket' },
        { ok: false, reason: 'not-a-network-namespace' },
        0,
      ]);
      assert.match(execFileSync('ip', ['-n', POD, 'link'], { encoding: 'utf8' }), new RegExp(`${link}:`));
      assert.ok(!readdirSync('/sys/class/net').includes(link));
    });

    test('environment: what is missing or malformed is refused with code 4 and its name, before the agent is asked', async (context) => {
      const bench = new ShimBench(context, program);
      bench.listen();
      const bad: readonly (readonly [string, string, readonly string[]])[] = [
        ['ADD', 'CNI_COMMAND', ['', 'add', 'UPDATE', 'ADD ']],
        ['ADD', 'CNI_CONTAINERID', ['', '-a', '.a', '_a', 'a/b', 'a b', 'a\n', '../x', 'é', 'a"\\']],
        ['CHECK', 'CNI_CONTAINERID', ['', 'a:b']],
        ['DEL', 'CNI_CONTAINERID', ['', 'a:b']],
        ['ADD', 'CNI_IFNAME', ['', '.', '..', 'a'.repeat(16), 'a/b', 'a:b', 'a b', 'a\tb', 'a\n']],
        ['DEL', 'CNI_IFNAME', ['', '..']],
        [
          'ADD',
          'CNI_NETNS',
          ['', 'run/netns/x', '/nonexistent', '/etc/passwd', '/proc/self/ns/mnt', '/etc/passwd/x'],
        ],
        ['CHECK', 'CNI_NETNS', ['']],
        ['DEL', 'CNI_NETNS', ['run/netns/x']],
        ['GC', 'CNI_PATH', ['']],
      ];
      for (const [command, name, values] of bad) {
        for (const value of values) {
          const finished = await bench.run({
            variables: variables(command, { [name]: value }),
            stdin: CONFIG,
          });
          assertError(finished, 4, new RegExp(`^${name} `));
        }
      }
      assert.equal(bench.received.length, 0);
      const good = { CNI_CONTAINERID: 'A0_.-z', CNI_IFNAME: 'a'.repeat(15) };
      assert.equal((await bench.run({ variables: variables('ADD', good) })).status, 0);
      assert.equal((await bench.run({ variables: { CNI_COMMAND: 'STATUS' } })).status, 0);
      assert.equal((await bench.run({ variables: { CNI_COMMAND: 'VERSION' } })).status, 0);
      assert.equal(bench.received.length, 3);
    });

    test('DEL goes on without descriptors when the namespace is gone or is something else', async (context) => {
      const bench = new ShimBench(context, program);
      bench.listen();
      const fifo = join(bench.directory, 'fifo');
      execFileSync('mkfifo', [fifo]);
      for (const netns of ['/nonexistent', '/etc/passwd', '/proc/self/ns/mnt', '/etc/passwd/x', fifo]) {
        assert.equal((await bench.run({ variables: variables('DEL', { CNI_NETNS: netns }) })).status, 0);
        assert.equal(bench.received.pop()?.descriptors, 0);
      }
      assertError(await bench.run({ variables: variables('ADD', { CNI_NETNS: fifo }) }), 4, /^CNI_NETNS/);
    });

    test("agent absent: each verb says what to do, in the configuration's version", async (context) => {
      const bench = new ShimBench(context, program);
      for (const command of ['ADD', 'CHECK', 'GC']) {
        const finished = await bench.run({ variables: variables(command, QUICK), stdin: CONFIG });
        assertError(
          finished,
          11,
          /the Weft agent on this node is not answering at .*kubectl -n weft get pods/,
        );
        assert.equal(finished.json['cniVersion'], '1.0.0');
        assert.equal(finished.json['details'], 'No such file or directory');
      }
      assertError(
        await bench.run({ variables: variables('STATUS', QUICK), stdin: CONFIG }),
        50,
        /not answering/,
      );
      const versions = await bench.run({ variables: { CNI_COMMAND: 'VERSION' }, stdin: '' });
      const supportedVersions = ['0.3.1', '0.4.0', '1.0.0', '1.1.0'];
      assert.deepEqual(versions.json, { cniVersion: '1.1.0', supportedVersions });
      assert.equal(versions.status, 0);
      const old = await bench.run({
        variables: { CNI_COMMAND: 'VERSION' },
        stdin: '{"cniVersion" : "0.4.0"}',
      });
      assert.deepEqual(old.json, { cniVersion: '0.4.0', supportedVersions });
      const long = { ...QUICK, WEFT_CNI_SOCKET: `/${'x'.repeat(200)}` };
      assertError(
        await bench.run({ variables: variables('ADD', long), stdin: CONFIG }),
        5,
        /cannot be reached/,
      );
    });

    test('agent that comes back while the shim waits: the request is served', async (context) => {
      const bench = new ShimBench(context, program);
      await bench.listen().close();
      const finished = await bench.run({
        variables: variables('ADD'),
        stdin: CONFIG,
        started: async (pid) => {
          const isPausing = (): boolean => readFileSync(`/proc/${pid}/wchan`, 'utf8').includes('nanosleep');
          await until(isPausing, { what: 'the shim to pause between two attempts', intervalMs: 1 });
          bench.listen();
        },
      });
      assert.equal(finished.status, 0);
      assert.equal(bench.received.length, 1);
    });

    test('agent absent, DEL: succeeds and leaves the request on disk, durable and private', async (context) => {
      const bench = new ShimBench(context, program);
      const ids = [
        'c1',
        'a-b',
        'x'.repeat(128),
        'y'.repeat(129),
        `${'z'.repeat(200)}1`,
        `${'z'.repeat(200)}2`,
      ];
      for (const id of ids) {
        const sent = variables('DEL', { ...QUICK, CNI_CONTAINERID: id });
        const finished = await bench.run({ variables: sent, stdin: CONFIG });
        assert.deepEqual([finished.status, finished.stdout], [0, '']);
      }
      const dashed = variables('DEL', { ...QUICK, CNI_CONTAINERID: 'a', CNI_IFNAME: 'b-eth0' });
      assert.equal((await bench.run({ variables: dashed, stdin: CONFIG })).status, 0);
      const names = readdirSync(bench.tombstones);
      assert.equal(names.length, ids.length + 1);
      assert.ok(names.includes('c1-eth0.del') && names.includes('a-b-eth0.del'));
      assert.equal(statSync(bench.tombstones).mode & 0o777, 0o700);
      const found = names.map((name) => {
        const file = join(bench.tombstones, name);
        assert.equal(statSync(file).mode & 0o777, 0o600);
        const request = decodeRequest(readFileSync(file));
        assert.ok(request.ok);
        assert.equal(request.value.descriptors, 0);
        assert.equal(new TextDecoder().decode(request.value.stdin), CONFIG);
        return `${request.value.environment.get('CNI_CONTAINERID')} ${request.value.environment.get('CNI_IFNAME')}`;
      });
      assert.deepEqual(found.sort(), [...ids.map((id) => `${id} eth0`), 'a b-eth0'].sort());
    });

    test('DEL on a node that Weft was taken off succeeds and leaves nothing', async (context) => {
      const bench = new ShimBench(context, program);
      rmSync(dirname(bench.tombstones), { recursive: true });
      const finished = await bench.run({ variables: variables('DEL', QUICK), stdin: CONFIG });
      assert.deepEqual([finished.status, finished.stdout], [0, '']);
      assert.deepEqual(readdirSync(bench.directory), []);
    });

    test('DEL twice leaves one file; a place that cannot be written is an error that says so', async (context) => {
      const bench = new ShimBench(context, program);
      for (let round = 0; round < 2; round += 1) {
        assert.equal((await bench.run({ variables: variables('DEL', QUICK), stdin: CONFIG })).status, 0);
      }
      assert.deepEqual(readdirSync(bench.tombstones), ['c1-eth0.del']);
      writeFileSync(join(bench.directory, 'file'), '');
      const bad = { ...QUICK, WEFT_TOMBSTONE_DIR: join(bench.directory, 'file', 'tombstones') };
      assertError(
        await bench.run({ variables: variables('DEL', bad), stdin: CONFIG }),
        5,
        /cannot be kept in/,
      );
    });

    test('a connection that breaks before the reply: ADD 11, DEL on disk, STATUS 50, VERSION answers itself', async (context) => {
      const bench = new ShimBench(context, program);
      bench.listen(undefined, { hangUp: true });
      const run = (command: string): Promise<Finished> =>
        bench.run({ variables: variables(command, QUICK), stdin: CONFIG });
      for (const command of ['ADD', 'CHECK', 'GC']) assertError(await run(command), 11, /went away before/);
      assertError(await run('STATUS'), 50, /went away/);
      assert.equal((await run('VERSION')).json['cniVersion'], '1.0.0');
      assert.equal((await run('DEL')).status, 0);
      assert.deepEqual(readdirSync(bench.tombstones), ['c1-eth0.del']);
    });

    test('an agent that hangs: the shim ends at its own deadline', async (context) => {
      const bench = new ShimBench(context, program);
      bench.listen(() => new Promise(() => {}), { deadlineMs: 1000 });
      const run = (command: string): Promise<Finished> =>
        bench.run({ variables: variables(command, QUICK), stdin: CONFIG });
      assertError(await run('ADD'), 11, /did not answer in time/);
      assertError(await run('STATUS'), 50, /did not answer in time/);
      assert.equal((await run('DEL')).status, 0);
      assert.deepEqual(readdirSync(bench.tombstones), ['c1-eth0.del']);
    });

    test('a reply that is not of the protocol is not printed', async (context) => {
      const good = encodeResponse({ status: 0, json: '{"x":1}' });
      const changed = (at: number, value: number): Uint8Array => {
        const bytes = Uint8Array.from(good);
        bytes[at] = value;
        return bytes;
      };
      const bench = new ShimBench(context, program);
      const add = async (reply: Uint8Array): Promise<Finished> => {
        bench.listen(reply);
        return await bench.run({ variables: variables('ADD'), stdin: CONFIG });
      };
      assert.equal((await add(good)).status, 0);
      assertError(await add(changed(0, 0)), 5, /another protocol/); // magic
      assertError(await add(changed(5, 2)), 5, /another protocol/); // version
      assertError(await add(changed(6, 1)), 5, /another protocol/); // status above 255
      assertError(await add(changed(8, 255)), 5, /another protocol/); // length above the limit
      assertError(await add(good.subarray(0, -1)), 11, /went away/);
      assertError(await add(good.subarray(0, 5)), 11, /went away/);
    });

    test('stdin and reply of the largest size; one byte more of stdin is refused with code 7', async (context) => {
      const bench = new ShimBench(context, program);
      const json = JSON.stringify({ x: 'y'.repeat(1_000_000) });
      bench.listen(encodeResponse({ status: 0, json }));
      const sent = variables('GC');
      const environment = { ...sent, WEFT_CNI_SOCKET: bench.socket, WEFT_TOMBSTONE_DIR: bench.tombstones };
      const used = Object.entries(environment).reduce(
        (sum, [name, value]) => sum + name.length + value.length + 2,
        0,
      );
      const stdin = new Uint8Array(MAX_REQUEST_BYTES - used).fill(32);
      const finished = await bench.run({ variables: sent, stdin });
      assert.equal(finished.stdout, json);
      assert.deepEqual(bench.received[0]?.stdin, stdin);
      const larger = await bench.run({ variables: sent, stdin: new Uint8Array(stdin.length + 1) });
      assertError(larger, 7, /too large/);
      assert.equal(bench.received.length, 1);
    });

    test('stdin that is never closed: code 5 at the deadline', async (context) => {
      const bench = new ShimBench(context, program);
      bench.listen();
      const finished = await bench.run({
        variables: variables('ADD', QUICK),
        stdin: CONFIG,
        holdStdin: true,
      });
      assertError(finished, 5, /did not close stdin/);
      assert.equal(bench.received.length, 0);
    });

    test('the descriptors of many runs do not stay open in the agent', async (context) => {
      const bench = new ShimBench(context, program);
      bench.listen();
      mkdirSync(bench.tombstones, { recursive: true });
      await bench.run({ variables: variables('ADD'), stdin: CONFIG });
      const open = (): number => readdirSync('/proc/self/fd').length;
      await until(() => bench.received.length === 1, { what: 'the first request' });
      const start = open();
      const runs = Array.from({ length: 20 }, () =>
        bench.run({ variables: variables('ADD'), stdin: CONFIG }),
      );
      for (const { status } of await Promise.all(runs)) assert.equal(status, 0);
      await until(() => open() <= start, { what: 'the descriptors to be closed' });
    });
  });
}

test('the plain program is static and small', () => {
  const bytes = readFileSync(programs.shim);
  assert.ok(bytes.length < 100_000, `${bytes.length} B`);
  assert.ok(!bytes.includes('ld-linux') && !bytes.includes('ld-musl'), 'it needs a loader');
});
