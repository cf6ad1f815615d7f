import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ipv4, mac } from '../../proto/address.ts';
import {
  CNI_VERSIONS,
  type CniVersion,
  decodeNetworkConfig,
  formatError,
  formatResult,
  formatVersions,
  versionHasCommand,
} from '../../proto/cni.ts';
import { decodeArguments, decodeEnvironment } from '../../proto/cni-environment.ts';

const CONFIG = { cniVersion: '1.1.0', name: 'weft', type: 'weft' };

const environment = (variables: Record<string, string>): ReadonlyMap<string, string> =>
  new Map(Object.entries(variables));

const ATTACHMENT = { CNI_CONTAINERID: 'c1', CNI_IFNAME: 'eth0', CNI_NETNS: '/var/run/netns/c1' };

const reasonFor = (variables: Record<string, string>): string => {
  const invocation = decodeEnvironment(environment(variables));
  return invocation.ok ? 'ok' : invocation.reason;
};

test('decodeNetworkConfig: each supported version', () => {
  for (const cniVersion of CNI_VERSIONS) {
    const config = decodeNetworkConfig({ ...CONFIG, cniVersion, ipam: {}, 'x-unknown': [1] });
    assert.equal(config.ok && config.value.cniVersion, cniVersion);
  }
});

test('decodeNetworkConfig: what it must refuse, each with its reason', () => {
  const cases: readonly (readonly [unknown, string])[] = [
    [undefined, 'not-an-object'],
    [null, 'not-an-object'],
    [[], 'not-an-object'],
    ['{}', 'not-an-object'],
    [{}, 'version-unsupported'],
    [{ ...CONFIG, cniVersion: '0.3.0' }, 'version-unsupported'],
    [{ ...CONFIG, cniVersion: '1.2.0' }, 'version-unsupported'],
    [{ ...CONFIG, cniVersion: 1 }, 'version-unsupported'],
    [{ ...CONFIG, name: '' }, 'name-malformed'],
    [{ ...CONFIG, name: '../x' }, 'name-malformed'],
    [{ ...CONFIG, name: 7 }, 'name-malformed'],
    [{ ...CONFIG, type: '' }, 'type-malformed'],
    [{ ...CONFIG, type: '/bin/sh' }, 'type-malformed'],
    [{ ...CONFIG, type: 'weft\0' }, 'type-malformed'],
    [{ ...CONFIG, dns: 'x' }, 'dns-malformed'],
    [{ ...CONFIG, dns: { nameservers: [1] } }, 'dns-malformed'],
    [{ ...CONFIG, dns: { domain: [] } }, 'dns-malformed'],
    [{ ...CONFIG, prevResult: 'x' }, 'previous-result-malformed'],
    [{ ...CONFIG, prevResult: null }, 'previous-result-malformed'],
    [{ ...CONFIG, prevResult: { ips: [{}] } }, 'previous-result-malformed'],
    [{ ...CONFIG, prevResult: { interfaces: [{ name: 1 }] } }, 'previous-result-malformed'],
    [{ ...CONFIG, prevResult: { interfaces: [{ name: 'eth0', mtu: '1' }] } }, 'previous-result-malformed'],
    [{ ...CONFIG, 'cni.dev/valid-attachments': {} }, 'valid-attachments-malformed'],
    [{ ...CONFIG, 'cni.dev/valid-attachments': [{ containerID: 'a' }] }, 'valid-attachments-malformed'],
  ];
  for (const [value, reason] of cases) {
    assert.deepEqual(decodeNetworkConfig(value), { ok: false, reason }, JSON.stringify(value));
  }
});

test('decodeNetworkConfig: a list of attachments that is missing is not an empty one', () => {
  const listed = (fields: object): unknown => {
    const config = decodeNetworkConfig({ ...CONFIG, ...fields });
    return config.ok ? config.value.validAttachments : config.reason;
  };
  const one = [{ containerID: 'a', ifname: 'eth0' }];
  assert.equal(listed({}), undefined);
  assert.deepEqual(listed({ 'cni.dev/valid-attachments': [] }), []);
  assert.deepEqual(listed({ 'cni.dev/valid-attachments': null }), []);
  assert.deepEqual(listed({ 'cni.dev/valid-attachments': one }), [
    { containerId: 'a', interfaceName: 'eth0' },
  ]);
  assert.deepEqual(listed({ 'cni.dev/attachments': one }), [{ containerId: 'a', interfaceName: 'eth0' }]);
});

test('decodeNetworkConfig: reads back the results of every version', () => {
  for (const version of CNI_VERSIONS) {
    const prevResult: unknown = JSON.parse(JSON.stringify(formatResult(version, RESULT, {})));
    const config = decodeNetworkConfig({ ...CONFIG, prevResult });
    assert.ok(config.ok);
    assert.deepEqual(config.value.previousResult?.ips, [{ address: '10.32.0.5/32', gateway: '10.32.0.1' }]);
    assert.equal(config.value.previousResult?.interfaces[1]?.mtu, version === '1.1.0' ? 1450 : undefined);
  }
});

test('versionHasCommand: CHECK from 0.4.0, STATUS and GC from 1.1.0', () => {
  const having = (command: 'ADD' | 'CHECK' | 'GC' | 'STATUS' | 'VERSION'): readonly CniVersion[] =>
    CNI_VERSIONS.filter((version) => versionHasCommand(version, command));
  assert.deepEqual(having('ADD'), CNI_VERSIONS);
  assert.deepEqual(having('VERSION'), CNI_VERSIONS);
  assert.deepEqual(having('CHECK'), ['0.4.0', '1.0.0', '1.1.0']);
  assert.deepEqual(having('GC'), ['1.1.0']);
  assert.deepEqual(having('STATUS'), ['1.1.0']);
});

const RESULT = {
  host: { name: 'vethwe012345678', mac: mac(0x0e0000000001) },
  pod: { name: 'eth0', mac: mac(0x0e0000000002), sandbox: '/var/run/netns/c1' },
  mtu: 1450,
  address: ipv4(0x0a200005),
  gateway: ipv4(0x0a200001),
};

test('formatResult: 1.1.0 has mtu and no version in ips', () => {
  assert.deepEqual(formatResult('1.1.0', RESULT, { nameservers: ['10.96.0.10'] }), {
    cniVersion: '1.1.0',
    interfaces: [
      { name: 'vethwe012345678', mac: '0e:00:00:00:00:01', mtu: 1450 },
      { name: 'eth0', mac: '0e:00:00:00:00:02', mtu: 1450, sandbox: '/var/run/netns/c1' },
    ],
    ips: [{ address: '10.32.0.5/32', gateway: '10.32.0.1', interface: 1 }],
    routes: [{ dst: '0.0.0.0/0', gw: '10.32.0.1' }],
    dns: { nameservers: ['10.96.0.10'] },
  });
});

test('formatResult: before 1.0.0 ips carry the version as text, before 1.1.0 interfaces no mtu', () => {
  for (const version of CNI_VERSIONS) {
    const text = JSON.stringify(formatResult(version, RESULT, {}));
    assert.equal(text.includes('"version":"4"'), version.startsWith('0.'), version);
    assert.equal(text.includes('"mtu"'), version === '1.1.0', version);
    assert.ok(text.includes(`"cniVersion":"${version}"`));
  }
});

test('formatError and formatVersions: as the specification has them', () => {
  assert.deepEqual(formatError('1.0.0', { code: 11, msg: 'later' }), {
    cniVersion: '1.0.0',
    code: 11,
    msg: 'later',
  });
  assert.deepEqual(formatVersions('0.4.0'), {
    cniVersion: '0.4.0',
    supportedVersions: ['0.3.1', '0.4.0', '1.0.0', '1.1.0'],
  });
});

test('decodeEnvironment: what each verb requires', () => {
  for (const command of ['ADD', 'CHECK', 'DEL']) {
    const all: Record<string, string> = { CNI_COMMAND: command, ...ATTACHMENT };
    assert.equal(reasonFor(all), 'ok');
    assert.equal(reasonFor({ ...all, CNI_CONTAINERID: '' }), 'container-id-missing');
    assert.equal(reasonFor({ ...all, CNI_IFNAME: '' }), 'interface-name-missing');
    assert.equal(reasonFor({ ...all, CNI_NETNS: '' }), command === 'DEL' ? 'ok' : 'netns-missing');
    assert.equal(reasonFor({ ...all, CNI_NETNS: 'var/run' }), 'netns-malformed');
  }
  assert.equal(reasonFor({ CNI_COMMAND: 'STATUS' }), 'ok');
  assert.equal(reasonFor({ CNI_COMMAND: 'VERSION' }), 'ok');
  assert.equal(reasonFor({ CNI_COMMAND: 'GC' }), 'path-missing');
  assert.equal(reasonFor({ CNI_COMMAND: 'GC', CNI_PATH: '/opt/cni/bin' }), 'ok');
  for (const command of ['', 'add', 'UPDATE', 'constructor']) {
    assert.equal(reasonFor({ CNI_COMMAND: command }), 'command');
  }
});

test('decodeEnvironment: grammar of container ids and interface names', () => {
  const base = { CNI_COMMAND: 'ADD', ...ATTACHMENT };
  for (const id of ['a', '0', 'a_b.c-d', 'A'.repeat(5000)]) {
    assert.equal(reasonFor({ ...base, CNI_CONTAINERID: id }), 'ok', id);
  }
  for (const id of ['-a', '.a', '_a', 'a/b', 'a b', 'a\n', '../etc', 'é', 'a;b', '']) {
    assert.notEqual(reasonFor({ ...base, CNI_CONTAINERID: id }), 'ok', id);
  }
  for (const name of ['e', 'eth0', 'a'.repeat(15), '...', 'eth0-1', 'a\\b', 'éé']) {
    assert.equal(reasonFor({ ...base, CNI_IFNAME: name }), 'ok', name);
  }
  for (const name of ['.', '..', 'a'.repeat(16), 'é'.repeat(8), 'a/b', 'a:b', 'a b', 'a\tb', 'a\vb', 'a\r']) {
    assert.equal(reasonFor({ ...base, CNI_IFNAME: name }), 'interface-name-malformed', name);
  }
});

test('decodeArguments: what kubelet and podman send, and what is refused', () => {
  const kubelet =
    'IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=u';
  assert.deepEqual(decodeArguments(kubelet), {
    ok: true,
    value: {
      podName: 'web-0',
      podNamespace: 'default',
      podUid: 'u',
      address: undefined,
      mac: undefined,
    },
  });
  assert.ok(decodeArguments('').ok);
  assert.ok(decodeArguments('IgnoreUnknown=true;FOO=a=b').ok);
  const wanted = decodeArguments('IP=10.0.0.1;MAC=0e:00:00:00:00:01');
  assert.ok(wanted.ok);
  assert.deepEqual([wanted.value.address, wanted.value.mac], ['10.0.0.1', '0e:00:00:00:00:01']);
  assert.deepEqual(decodeArguments('GATEWAY=10.0.0.1'), { ok: false, reason: 'arguments-unknown' });
  assert.deepEqual(decodeArguments('IgnoreUnknown=0;FOO=1'), { ok: false, reason: 'arguments-unknown' });
  for (const text of ['FOO', '=1', 'a b=1', 'IgnoreUnknown=1;=']) {
    assert.deepEqual(decodeArguments(text), { ok: false, reason: 'arguments-malformed' }, text);
  }
});
