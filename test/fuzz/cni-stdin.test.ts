// A million network configurations on stdin, right, nearly right and not at all, through what ADD, CHECK and GC decode of them. What is
// accepted is held against the CNI specification (1.1.0, section 1) as a second, slow reading of it.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { parseJson, refusedSize, versionOf } from '../../agent/control/cni/cni-answer.ts';
import { chainResult } from '../../proto/cni-chain.ts';
import { decodeRequested } from '../../proto/cni-requested.ts';
import {
  CNI_VERSIONS,
  type NetworkConfig,
  configError,
  decodeNetworkConfig,
  formatResult,
} from '../../proto/cni.ts';
import { ipv4, mac } from '../../proto/address.ts';
import { randomInt } from '../support/random.ts';
import { fuzz } from './fuzzing.ts';
import { ByteMutator, mutateJson, oneOf } from './mutation.ts';

const RESULT = {
  cniVersion: '1.1.0',
  interfaces: [
    { name: 'vethwe0123456789', mac: '0e:00:5e:00:53:01', mtu: 1450 },
    { name: 'eth0', mac: '0e:00:5e:00:53:02', mtu: 1450, sandbox: '/run/netns/cni-1' },
  ],
  ips: [{ address: '10.32.0.5/32', gateway: '10.32.0.1', interface: 1 }],
  routes: [{ dst: '0.0.0.0/0', gw: '10.32.0.1', table: 254 }],
  dns: {
    nameservers: ['10.96.0.10'],
    domain: 'cluster.local',
    search: ['svc.cluster.local'],
    options: ['ndots:5'],
  },
};
const NETWORK = { cniVersion: '1.1.0', name: 'weft', type: 'weft' };
const SAMPLES: readonly object[] = [
  NETWORK,
  { ...NETWORK, cniVersion: '0.3.1', dns: RESULT.dns, prevResult: RESULT },
  { ...NETWORK, cniVersion: '1.0.0', prevResult: { ips: null, interfaces: [] } },
  { ...NETWORK, 'cni.dev/valid-attachments': [{ containerID: 'c1', ifname: 'eth0' }] },
  { ...NETWORK, 'cni.dev/attachments': null },
  {
    ...NETWORK,
    cniVersion: '0.4.0',
    runtimeConfig: { ips: ['10.32.0.9/12'], mac: '0e:00:5e:00:53:03' },
    args: { cni: { ips: ['10.32.0.8'] } },
  },
];
const VOCABULARY = {
  keys: [
    'cniVersion',
    'name',
    'type',
    'dns',
    'prevResult',
    'cni.dev/valid-attachments',
    'ips',
    'interfaces',
    'routes',
    'runtimeConfig',
  ],
  values: [
    ...CNI_VERSIONS,
    '0.2.0',
    '1.1',
    'we/ft',
    '../weft',
    RESULT,
    RESULT.dns,
    RESULT.interfaces,
    ['10.0.0.1', '10.0.0.2'],
    '::1',
  ],
};
const bytes = new ByteMutator(
  SAMPLES.map((sample) => new TextEncoder().encode(JSON.stringify(sample))),
  [
    '"',
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    'null',
    '"__proto__":',
    '\\u0000',
    '\\ud800',
    '1e999',
    '0.3.1',
    '"dns":',
    new Uint8Array([0xff, 0xfe]),
    '\ufeff',
  ],
);

const isNothing = (value: unknown): boolean => value === undefined || value === null;
const isRecord = (value: unknown): value is Record<string, unknown> =>
  Object.prototype.toString.call(value) === '[object Object]';
const areTexts = (value: unknown): boolean =>
  Array.isArray(value) && !value.some((each) => typeof each !== 'string');
const own = (value: Record<string, unknown>, key: string): unknown =>
  Object.hasOwn(value, key) ? value[key] : undefined;

/** The specification's own words, one line each. */
function forbidden(config: unknown): string | undefined {
  if (!isRecord(config)) return 'no object';
  const [version, name, type, dns, previous] = ['cniVersion', 'name', 'type', 'dns', 'prevResult'].map(
    (key) => own(config, key),
  );
  if (!['0.3.1', '0.4.0', '1.0.0', '1.1.0'].includes(String(version)) || typeof version !== 'string')
    return 'cniVersion';
  // "Must start with an alphanumeric character, optionally followed by any combination of one or more alphanumeric characters, _ . -"
  if (
    typeof name !== 'string' ||
    name.split('').some((letter, at) => !(at > 0 ? NAME : NAME.slice(3)).includes(letter)) ||
    name === ''
  )
    return 'name';
  // "Must not contain characters disallowed in file paths for the system (e.g. / or \)"
  if (
    typeof type !== 'string' ||
    type === '' ||
    type.includes('/') ||
    type.includes('\\') ||
    type.includes('\0')
  )
    return 'type';
  if (!isNothing(dns)) {
    if (!isRecord(dns)) return 'dns';
    for (const key of ['nameservers', 'search', 'options'])
      if (key in dns && !areTexts(own(dns, key)) && own(dns, key) !== undefined) return `dns.${key}`;
    if (own(dns, 'domain') !== undefined && typeof own(dns, 'domain') !== 'string') return 'dns.domain';
  }
  if (previous !== undefined && !isRecord(previous)) return 'prevResult';
  for (const key of ['cni.dev/valid-attachments', 'cni.dev/attachments']) {
    const listed = own(config, key);
    if (isNothing(listed)) continue;
    if (key === 'cni.dev/attachments' && !isNothing(own(config, 'cni.dev/valid-attachments'))) continue;
    if (!Array.isArray(listed)) return key;
    for (const entry of listed as unknown[]) {
      if (
        !isRecord(entry) ||
        typeof own(entry, 'containerID') !== 'string' ||
        typeof own(entry, 'ifname') !== 'string'
      )
        return key;
    }
  }
  return undefined;
}
const NAME = '_.-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789';

/** What becomes of an accepted one in ADD: it is answered, and the answer is JSON. */
function answered(config: NetworkConfig): void {
  const requested = decodeRequested(config.fields, { address: undefined, mac: undefined });
  if (!requested.ok) assert.ok(requested.error.msg.length < 1000 && [2, 4, 7].includes(requested.error.code));
  if (refusedSize(config) !== undefined) return;
  const result = formatResult(
    config.cniVersion,
    {
      host: { name: 'vethwe0', mac: mac(2) },
      pod: { name: 'eth0', mac: mac(4), sandbox: '/run/netns/x' },
      mtu: 1450,
      address: ipv4(0x0a200005),
      gateway: ipv4(0x0a200001),
    },
    config.dns,
  );
  const { ips } = chainResult(config.fields['prevResult'], result) as { ips: { interface: number }[] }; // as: its last is ours
  assert.ok(Number.isSafeInteger(ips.at(-1)?.interface));
}

function attempt(random: () => number): string {
  const value: unknown =
    random() < 0.3
      ? parseJson(bytes.mutate(random))
      : mutateJson(random, oneOf(random, SAMPLES), { changes: randomInt(random, 4), vocabulary: VOCABULARY });
  assert.ok(CNI_VERSIONS.includes(versionOf(value)));
  const config = decodeNetworkConfig(value);
  if (!config.ok) {
    assert.ok(configError(config.reason).msg.length > 0);
    return config.reason;
  }
  assert.equal(forbidden(value), undefined);
  answered(config.value);
  return 'accepted';
}

test('CNI stdin: nothing crashes, hangs, or is accepted against the specification', (t) => {
  fuzz(t, {
    attempt,
    outcomes: [
      'accepted',
      'not-an-object',
      'version-unsupported',
      'name-malformed',
      'type-malformed',
      'dns-malformed',
      'previous-result-malformed',
      'valid-attachments-malformed',
    ],
  });
});

test('CNI stdin: as deep as a request can be', () => {
  const deep = (depth: number, key: string): Uint8Array => {
    const text = `{"cniVersion":"1.1.0","name":"weft","type":"weft","${key}":${'{"x":'.repeat(depth)}1${'}'.repeat(depth)}}`;
    return new TextEncoder().encode(text);
  };
  for (const key of ['prevResult', 'dns', 'runtimeConfig', 'args', 'cni.dev/valid-attachments', 'other']) {
    for (const depth of [100, 10_000, 170_000]) {
      const config = decodeNetworkConfig(parseJson(deep(depth, key)));
      if (config.ok) answered(config.value);
    }
  }
  const list = new TextEncoder().encode(
    `{"cniVersion":"1.1.0","name":"weft","type":"weft","runtimeConfig":{"ips":${'['.repeat(400_000)}${']'.repeat(400_000)}}}`,
  );
  const config = decodeNetworkConfig(parseJson(list));
  if (config.ok) answered(config.value);
});
