// CNI 1.1.0, sections 1, 2 (parameters, errors, STATUS, VERSION) and 5 (errors): one named test per requirement on a plugin, through the
// executed shim, against an agent with a range of 32 addresses, on a real kernel. docs/cni-conformance.md lists them.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';

import { until } from '../lab/condition.ts';
import {
  type CniAnswer,
  type CniRuntime,
  type Container,
  VERSIONS,
  createCniRuntime,
} from '../lab/cni-runtime.ts';
import { enterEnclosure } from '../lab/enclosure.ts';
import { openCniNode } from './cni-node.ts';

await enterEnclosure();

const SMALL_RANGE = { IPALLOC_RANGE: '10.32.0.0/27', WEFT_BLOCK_PREFIX: '29' };
const QUICK = { WEFT_CNI_DEADLINE_MS: '250' };

const { lab, node, runtime } = await openCniNode({ environment: SMALL_RANGE });
const container: Container = await runtime.container('c1');

function assertError({ status, stdout, stderr, json }: CniAnswer, code: number, message: RegExp): void {
  assert.equal(json.code, code, stdout);
  assert.match(json.msg ?? '', message);
  assert.notEqual(status, 0);
  assert.equal(stderr, '');
}

/** ADD that must succeed, and its DEL. */
async function addAndDelete(call: Parameters<CniRuntime['call']>[1] = {}): Promise<CniAnswer> {
  const added = await runtime.call('ADD', { of: container, ...call });
  assert.equal(added.status, 0, added.stdout);
  assert.equal((await runtime.call('DEL', { of: container, ...call })).status, 0);
  return added;
}

test('STATUS: ADD, CHECK and DEL do not rely on it: nobody has called it yet', async () => {
  const prevResult = (await runtime.call('ADD', { of: container })).json;
  assert.equal((await runtime.call('CHECK', { of: container, config: { prevResult } })).status, 0);
  assert.equal((await runtime.call('DEL', { of: container })).status, 0);
});

test('configuration: the network name is held to its grammar', async () => {
  for (const name of ['weft', '0', 'a_b.c-d']) await addAndDelete({ config: { name } });
  for (const name of ['', '-a', '.a', 'a b', 'a/b', '../a', 7, null]) {
    assertError(await runtime.call('ADD', { of: container, config: { name } }), 7, /"name"/);
  }
});

test('configuration: a type with a character that is disallowed in file paths is refused', async () => {
  for (const type of ['', 'a/weft', 'a\\weft', 1]) {
    assertError(await runtime.call('ADD', { of: container, config: { type } }), 7, /"type"/);
  }
});

test('configuration: keys that Weft does not know are accepted, and so are those of the runtime', async () => {
  const config = {
    'x-unknown': [{ deep: null }],
    ipMasq: true,
    capabilities: { portMappings: true },
    runtimeConfig: { portMappings: [], bandwidth: {} },
    args: { cni: { labels: [{ key: 'app', value: 'web' }] }, other: 1 },
    'cni.dev/unknown': true,
  };
  await addAndDelete({ config });
});

test('configuration: dns is respected: repeated in the result, refused when malformed', async () => {
  const dns = { nameservers: ['10.96.0.10'], domain: 'a', search: ['a', 'b'], options: ['ndots:5'] };
  assert.deepEqual((await addAndDelete({ config: { dns } })).json.dns, dns);
  assertError(await runtime.call('ADD', { of: container, config: { dns: [] } }), 7, /"dns"/);
  const search = ['x'.repeat(600_000)];
  assertError(await runtime.call('ADD', { of: container, config: { dns: { search } } }), 7, /too large/);
});

test('versions: ADD, DEL and their errors in each of 0.3.1, 0.4.0, 1.0.0 and 1.1.0', async () => {
  for (const cniVersion of VERSIONS) {
    assert.equal((await addAndDelete({ config: { cniVersion } })).json.cniVersion, cniVersion);
    const refused = await runtime.call('ADD', { of: container, config: { cniVersion, name: '' } });
    assert.equal(refused.json.cniVersion, cniVersion);
    const byShim = await runtime.call('ADD', { of: container, ifname: '..', config: { cniVersion } });
    assert.equal(byShim.json.cniVersion, cniVersion);
  }
});

test('versions: a verb that the version does not have is refused with code 1', async () => {
  const config = { prevResult: {}, 'cni.dev/valid-attachments': [] };
  for (const [command, cniVersion] of [
    ['CHECK', '0.3.1'],
    ['STATUS', '1.0.0'],
    ['GC', '1.0.0'],
  ] as const) {
    const answer = await runtime.call(command, { of: container, config: { ...config, cniVersion } });
    assertError(answer, 1, new RegExp(`${cniVersion} has no ${command}`));
  }
});

test('parameters: CNI_COMMAND must be a verb of the specification', async () => {
  for (const command of ['', 'add', 'UPDATE', 'ADD ']) {
    assertError(await runtime.call(command, { of: container }), 4, /^CNI_COMMAND /);
  }
});

test('parameters: CNI_CONTAINERID must not be empty and is held to its grammar', async () => {
  for (const command of ['ADD', 'DEL', 'CHECK']) {
    for (const id of ['', '-a', '.a', '_a', 'a/b', 'a b', '../x', 'é']) {
      assertError(await runtime.call(command, { of: container, id }), 4, /^CNI_CONTAINERID /);
    }
  }
  for (const id of ['0', 'A_b.c-', 'a'.repeat(200)]) await addAndDelete({ id });
});

test('parameters: an interface name that cannot be used is an error, one of 15 characters is used', async () => {
  const names = ['', '.', '..', 'a'.repeat(16), 'é'.repeat(8), 'a/b', 'a:b', 'a b', 'a\tb', 'a\n', 'lo'];
  for (const ifname of names) {
    assertError(await runtime.call('ADD', { of: container, ifname }), 4, /CNI_IFNAME|interface "lo"/);
  }
  for (const ifname of ['e', 'eth0-123.4567_8', 'ééééééé']) {
    const { json } = await addAndDelete({ ifname });
    assert.equal(json.interfaces?.[1]?.name, ifname);
  }
});

test('parameters: CNI_NETNS must be the path of a network namespace that is not the own one', async () => {
  for (const netns of [
    '',
    'run/netns/c1',
    '/nonexistent',
    '/etc/passwd',
    '/proc/self/ns/mnt',
    '/proc/self/ns/net',
  ]) {
    assertError(await runtime.call('ADD', { of: container, netns }), 4, /CNI_NETNS/);
  }
});

test('parameters: CNI_ARGS are pairs; unknown keys are refused unless IgnoreUnknown is set', async () => {
  const withArgs = (CNI_ARGS: string): Parameters<CniRuntime['call']>[1] => ({ variables: { CNI_ARGS } });
  for (const args of [
    '',
    'K8S_POD_NAME=a;K8S_POD_NAMESPACE=b',
    'IgnoreUnknown=1;FOO=BAR;ABC=123',
    'FOO=1;IgnoreUnknown=true',
  ]) {
    await addAndDelete(withArgs(args));
  }
  for (const args of ['FOO=1', 'FOO', '=1', 'IgnoreUnknown=0;FOO=1', 'IgnoreUnknown=1;a b=1']) {
    assertError(await runtime.call('ADD', { of: container, ...withArgs(args) }), 4, /CNI_ARGS/);
  }
});

test('errors: exit status zero on success, another and an error structure on standard output on failure', async () => {
  const added = await addAndDelete();
  assert.equal(added.json.code, undefined);
  const failed = await runtime.call('ADD', { of: container, ifname: 'lo' });
  assert.ok(failed.status > 0);
  const { cniVersion, code, msg, details } = failed.json;
  assert.deepEqual([cniVersion, code, details], ['1.1.0', 4, 'EEXIST']);
  assert.match(msg ?? '', /already has an interface "lo"/);
  assert.deepEqual(Object.keys(failed.json), ['cniVersion', 'code', 'msg', 'details']);
});

test('error codes: 1 for an incompatible version', async () => {
  for (const cniVersion of ['0.2.0', '0.3.0', '1.2.0', '9.9.9', 1, undefined]) {
    const answer = await runtime.call('ADD', { of: container, config: { cniVersion } });
    assertError(answer, 1, /cniVersion.*0\.3\.1, 0\.4\.0, 1\.0\.0, 1\.1\.0/);
    assert.equal(answer.json.cniVersion, '1.1.0');
  }
});

test('error codes: 2 with key and value for a field that is not supported', async () => {
  for (const ips of [['10.32.0.3', '10.32.0.4'], ['fd00::1/64']]) {
    const answer = await runtime.call('ADD', { of: container, config: { runtimeConfig: { ips } } });
    assertError(answer, 2, /^runtimeConfig\.ips /);
    for (const address of ips) assert.ok(answer.json.msg?.includes(address));
  }
});

test('error codes: 3 for a container that is unknown', async () => {
  assertError(await runtime.call('CHECK', { of: container, config: { prevResult: {} } }), 3, /"c1"/);
});

test('error codes: 4 with the names of the invalid variables', async () => {
  for (const name of ['CNI_COMMAND', 'CNI_CONTAINERID', 'CNI_IFNAME', 'CNI_NETNS']) {
    const answer = await runtime.call('ADD', { of: container, variables: { [name]: undefined } });
    assertError(answer, 4, new RegExp(`^${name} is missing`));
  }
  assertError(await runtime.call('GC', { variables: { CNI_PATH: undefined } }), 4, /^CNI_PATH is missing/);
});

test('error codes: 5 for an I/O failure: an agent that cannot be reached', async () => {
  const variables = { ...QUICK, WEFT_CNI_SOCKET: `/${'x'.repeat(200)}` };
  assertError(await runtime.call('ADD', { of: container, variables }), 5, /cannot be reached/);
});

test('error codes: 6 for what cannot be decoded', async () => {
  for (const config of ['', '{', 'null', '[]', '"{}"', '\u0000']) {
    assertError(await runtime.call('ADD', { of: container, config }), 6, /not a JSON object/);
  }
});

test('error codes: 7 for a configuration that does not pass validation', async () => {
  for (const config of [
    { prevResult: 'x' },
    { prevResult: { ips: [{}] } },
    { prevResult: { routes: [1] } },
  ]) {
    assertError(await runtime.call('ADD', { of: container, config }), 7, /"prevResult"/);
  }
  assertError(await runtime.call('CHECK', { of: container }), 7, /"prevResult"/);
  const malformed = { 'cni.dev/valid-attachments': [{ containerID: 1 }] };
  assertError(await runtime.call('GC', { config: malformed }), 7, /"cni\.dev\/valid-attachments"/);
});

test('error codes: 11 for what clears up: an agent that is not there', async () => {
  const variables = { ...QUICK, WEFT_CNI_SOCKET: '/run/weft/none.sock' };
  for (const command of ['ADD', 'CHECK', 'GC']) {
    assertError(
      await runtime.call(command, { of: container, variables }),
      11,
      /agent on this node is not answering/,
    );
  }
});

test("error codes: a plugin's own are 100 and above", async () => {
  const config = { runtimeConfig: { ips: ['10.99.0.1'] } };
  assertError(
    await runtime.call('ADD', { of: container, config }),
    101,
    /10\.99\.0\.1.*no pod address of this node/,
  );
});

test('VERSION: the version of the input and the list of supported ones, on standard output', async () => {
  for (const cniVersion of VERSIONS) {
    const { status, json } = await runtime.call('VERSION', { config: { cniVersion } });
    assert.deepEqual([status, json], [0, { cniVersion, supportedVersions: [...VERSIONS] }]);
  }
});

test('VERSION: needs nothing but CNI_COMMAND, not even an agent', async () => {
  const none = { CNI_PATH: undefined, CNI_IFNAME: undefined };
  for (const variables of [none, { ...none, ...QUICK, WEFT_CNI_SOCKET: '/run/weft/none.sock' }]) {
    const { status, json } = await runtime.call('VERSION', { config: '{}', variables });
    assert.deepEqual([status, json.supportedVersions], [0, [...VERSIONS]]);
  }
});

test('STATUS: zero and no output while ADD can be served', async () => {
  const { status, stdout } = await runtime.call('STATUS', { variables: { CNI_PATH: undefined } });
  assert.deepEqual([status, stdout], [0, '']);
});

test('STATUS: 50 when ADD cannot be served: a new node that the API server has not given addresses to', async () => {
  const other = await lab.addNode('node-2', { start: false });
  const otherRuntime = createCniRuntime(other);
  const status = async (): Promise<number | undefined> =>
    (await otherRuntime.call('STATUS', { variables: { WEFT_CNI_DEADLINE_MS: '1000' } })).json.code;
  await lab.api.kill();
  other.agent.start(SMALL_RANGE);
  await until(() => existsSync(other.namespace.path('/run/weft/cni.sock')), { what: 'the CNI socket' });
  assert.equal(await status(), 50);
  const of = await otherRuntime.container('c2');
  assertError(await otherRuntime.call('ADD', { of }), 11, /Cannot attach the pod yet/);
  await lab.api.start();
  await other.agent.ready();
  assert.equal(await status(), undefined);
  assert.equal((await otherRuntime.call('ADD', { of })).status, 0);
  assert.equal((await otherRuntime.call('DEL', { of })).status, 0);
});

test('STATUS: addresses that run out are told by ADD with code 11, not by STATUS', async (context) => {
  const many = await Promise.all(
    Array.from({ length: 32 }, (_, index) => runtime.container(`many-${index}`)),
  );
  const answers = await Promise.all(many.map((of) => runtime.call('ADD', { of })));
  const refused = answers.filter(({ status }) => status !== 0);
  context.diagnostic(
    `${answers.length - refused.length} of ${answers.length} pods fit beside node-2 into 10.32.0.0/27`,
  );
  assert.ok(refused.length > 0);
  for (const answer of refused) assertError(answer, 11, /all \d+ of this node's \d+ blocks are in use/);
  assert.equal((await runtime.call('STATUS')).status, 0);
  for (const each of many) assert.equal((await runtime.call('DEL', { of: each })).status, 0);
  await Promise.all(many.map((of) => of.remove()));
  assert.equal((await runtime.holdings()).used, 0);
});

test('STATUS: 50 without an agent, and other verbs are served after an error all the same', async () => {
  const variables = { ...QUICK, WEFT_CNI_SOCKET: '/run/weft/none.sock' };
  assertError(await runtime.call('STATUS', { variables }), 50, /not answering/);
  await addAndDelete();
});

test('STATUS: 51 while the data plane is down: pods that run reach no other node', async () => {
  // Killed again and again, so that the keeper lets it rest.
  await until(
    async () => {
      const pid = node.agent.pidOf('dataplane');
      if (pid !== 0) node.agent.killRole('dataplane');
      return (await runtime.call('STATUS')).json.code === 51;
    },
    { what: 'STATUS to answer 51', boundMs: 40_000 },
  );
  await until(async () => (await runtime.call('STATUS')).status === 0, {
    what: 'the data plane to be back',
    boundMs: 40_000,
  });
});
