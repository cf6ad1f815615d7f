import assert from 'node:assert/strict';
import { test } from 'node:test';

import { formatCidr } from '../../proto/address.ts';
import { OperationError } from '../../agent/operation-error.ts';
import { SETTING_TABLE } from '../../agent/setting-table.ts';
import { authorityOf, defaultWorkers, listenAddress, parseSettings } from '../../agent/settings.ts';

const refusal = (environment: Record<string, string>): string => {
  try {
    parseSettings({ HOSTNAME: 'n1', ...environment });
  } catch (error) {
    assert.ok(error instanceof OperationError);
    assert.equal(error.code, 'SETTING_INVALID');
    return error.message;
  }
  return 'accepted';
};

test('parseSettings takes the documented defaults', () => {
  const settings = parseSettings({ HOSTNAME: 'n1' });
  assert.equal(formatCidr(settings.range), '10.32.0.0/12');
  assert.equal(settings.port, 6784);
  assert.deepEqual(settings.metricsAddress, { host: '0.0.0.0', port: 6782 });
  assert.equal(settings.nodeIp, undefined);
});

test('parseSettings refuses a bad value with its name, the value and the remedy', () => {
  const cases: readonly (readonly [Record<string, string>, RegExp])[] = [
    [{ IPALLOC_RANGE: 'banana' }, /IPALLOC_RANGE.*"banana" is not a CIDR/],
    [{ IPALLOC_RANGE: '10.32.0.0/33' }, /prefix length must be 0 to 32/],
    [{ IPALLOC_RANGE: '10.32.0.1/12' }, /did you mean 10\.32\.0\.0\/12/],
    [{ IPALLOC_RANGE: '10.32.0.0/28' }, /too small: nodes claim blocks of \/26/],
    [{ IPALLOC_RANGE: '10.0.0.0/7' }, /too large|bits set/],
    [
      { IPALLOC_RANGE: '10.32.0.0/12', WEFT_NODE_IP: '10.33.1.1' },
      /overlaps the node's own address 10\.33\.1\.1/,
    ],
    [{ WEFT_NODE_IP: '10.1.1' }, /WEFT_NODE_IP.*four decimal octets/],
    [{ WEFT_PORT: '0' }, /WEFT_PORT="0".*1 to 65535/],
    [{ WEFT_PORT: '6784x' }, /whole number/],
    [{ WEAVE_MTU: '100' }, /576 to/],
    [{ WEFT_VNI: '16777216' }, /0 to 16777215/],
    [{ WEAVE_HTTP_ADDR: 'localhost' }, /an address and a port/],
    [{ LOG_FORMAT: 'xml' }, /one of json, pretty/],
    [{ WEFT_RUN_DIR: 'run' }, /absolute path/],
    [{ HOSTNAME: 'Bad_Name' }, /HOSTNAME="Bad_Name"/],
    [{ WEFT_MASQUERADE: 'yes' }, /one of 0, 1/],
    [{ WEFT_DATAPLANE_WORKERS: '0' }, /WEFT_DATAPLANE_WORKERS="0": write a whole number from 1 to 8/],
    [{ WEFT_DATAPLANE_WORKERS: '9' }, /from 1 to 8/],
    [{ WEFT_DATAPLANE_WORKERS: 'auto' }, /WEFT_DATAPLANE_WORKERS="auto"/],
  ];
  for (const [environment, expected] of cases) assert.match(refusal(environment), expected);
});

test('listenAddress takes an IPv6 address with and without brackets, and authorityOf writes it with them', () => {
  for (const [text, address, authority] of [
    ['[::1]:6784', { host: '::1', port: 6784 }, '[::1]:6784'],
    ['::1:6784', { host: '::1', port: 6784 }, '[::1]:6784'],
    ['127.0.0.1:6784', { host: '127.0.0.1', port: 6784 }, '127.0.0.1:6784'],
  ] as const) {
    assert.deepEqual(listenAddress('WEAVE_HTTP_ADDR', text), address);
    assert.equal(authorityOf(address), authority);
  }
});

test('defaultWorkers: half the processors, at least 1 and at most 2; the setting wins', () => {
  const defaults = [1, 2, 3, 4, 6, 8, 9, 256].map((count) => [count, defaultWorkers(count)]);
  assert.deepEqual(defaults, [
    [1, 1],
    [2, 1],
    [3, 1],
    [4, 2],
    [6, 2],
    [8, 2],
    [9, 2],
    [256, 2],
  ]);
  assert.equal(parseSettings({ HOSTNAME: 'n1' }).dataplaneWorkers, undefined);
  assert.equal(parseSettings({ HOSTNAME: 'n1', WEFT_DATAPLANE_WORKERS: '' }).dataplaneWorkers, undefined);
  assert.equal(parseSettings({ HOSTNAME: 'n1', WEFT_DATAPLANE_WORKERS: '3' }).dataplaneWorkers, 3);
});

test('parseSettings needs the node name', () => {
  assert.throws(() => parseSettings({}), /HOSTNAME/);
});

test('SETTING_TABLE names every variable once', () => {
  const names = SETTING_TABLE.map(([name]) => name);
  assert.equal(new Set(names).size, names.length);
});
