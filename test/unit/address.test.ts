import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { parseCidr, parseIpv4, parseMac } from '../../proto/address-text.ts';
import {
  blockCidr,
  blockCount,
  blockIndex,
  blockOf,
  cidrContains,
  cidrSize,
  cidrsOverlap,
  formatCidr,
  formatIpv4,
  formatMac,
  ipv4,
  mac,
  vni,
} from '../../proto/address.ts';
import { randomInt, seededRandom, testSeed } from '../support/random.ts';

const startsWith =
  (start: string) =>
  (error: Error): boolean =>
    error.message.startsWith(start);

describe('parseIpv4', () => {
  it('reads four decimal octets, unsigned', () => {
    assert.equal(parseIpv4('10.32.0.1'), 0x0a200001);
    assert.equal(parseIpv4('0.0.0.0'), 0);
    assert.equal(parseIpv4('255.255.255.255'), 0xffff_ffff);
    assert.equal(parseIpv4('128.0.0.0'), 0x8000_0000);
  });

  it('is the inverse of formatIpv4 for random addresses', (t) => {
    const seed = testSeed();
    t.diagnostic(`WEFT_TEST_SEED=${seed}`);
    const random = seededRandom(seed);
    for (let round = 0; round < 200; round += 1) {
      const address = ipv4(randomInt(random, 2 ** 32));
      assert.equal(parseIpv4(formatIpv4(address)), address);
    }
  });

  for (const text of [
    '',
    '10.32.0',
    '10.32.1',
    '10.32.0.0.1',
    '10.32.0.256',
    '010.32.0.1',
    '10.32.0.08',
    '0x0a.32.0.1',
    '10.32.0.-1',
    '10.32.0.1 ',
    ' 10.32.0.1',
    '10.32.0.1\n',
    '10.32.0.1/12',
    '10..0.1',
    '169869313',
    '1e1.0.0.0',
    '::ffff:10.32.0.1',
    'fe80::1',
    '١٠.32.0.1',
  ]) {
    it(`refuses ${JSON.stringify(text)} and quotes it`, () => {
      assert.throws(() => parseIpv4(text), startsWith(`"${text}" is not an IPv4 address: `));
    });
  }
});

describe('parseCidr', () => {
  it('reads address and prefix length', () => {
    assert.deepEqual(parseCidr('10.32.0.0/12'), { base: 0x0a200000, prefixLength: 12 });
    assert.deepEqual(parseCidr('0.0.0.0/0'), { base: 0, prefixLength: 0 });
    assert.deepEqual(parseCidr('255.255.255.255/32'), { base: 0xffff_ffff, prefixLength: 32 });
    assert.deepEqual(parseCidr('128.0.0.0/1'), { base: 0x8000_0000, prefixLength: 1 });
    assert.equal(formatCidr(parseCidr('10.32.4.64/26')), '10.32.4.64/26');
  });

  it('refuses host bits and names the prefix that was meant', () => {
    assert.throws(
      () => parseCidr('10.33.0.1/12'),
      /"10\.33\.0\.1\/12" has bits set .* did you mean 10\.32\.0\.0\/12\?/,
    );
    assert.throws(() => parseCidr('255.255.255.255/0'), /did you mean 0\.0\.0\.0\/0\?/);
    assert.throws(() => parseCidr('10.32.0.1/31'), /did you mean 10\.32\.0\.0\/31\?/);
  });

  for (const text of [
    '',
    '10.32.0.0',
    '10.32.0.0/',
    '10.32.0.0/33',
    '10.32.0.0/-1',
    '10.32.0.0/+8',
    '10.32.0.0/12/12',
    '10.32.0.0/1e1',
    '10.32.0.0/ 12',
    '10.32.0.0/12\n',
    '10.0.0.0/08',
    '10.0.0.0/008',
    '0.0.0.0/00',
  ]) {
    it(`refuses ${JSON.stringify(text)} and quotes it`, () => {
      assert.throws(() => parseCidr(text), startsWith(`"${text}" is not a CIDR: `));
    });
  }

  it('refuses a bad address and quotes that', () => {
    assert.throws(() => parseCidr('10.32/12'), startsWith('"10.32" is not an IPv4 address: '));
    assert.throws(() => parseCidr('/12'), startsWith('"" is not an IPv4 address: '));
  });
});

describe('parseMac', () => {
  it('reads six octets of either case and is the inverse of formatMac', () => {
    assert.equal(parseMac('0e:00:5e:00:53:01'), 0x0e005e005301);
    assert.equal(parseMac('FF:ff:FF:ff:FF:ff'), 0xffff_ffff_ffff);
    for (const text of ['00:00:00:00:00:00', '0e:1f:a0:0b:c0:0d', 'ff:ff:ff:ff:ff:ff'])
      assert.equal(formatMac(parseMac(text)), text);
  });

  for (const text of [
    '',
    '0e:00:5e:00:53',
    '0e:00:5e:00:53:01:02',
    '0e-00-5e-00-53-01',
    'e:0:5e:0:53:1',
    '0e005e005301',
    '0g:00:5e:00:53:01',
    ' 0e:00:5e:00:53:01',
    '0e:00:5e:00:53:01\n',
  ]) {
    it(`refuses ${JSON.stringify(text)} and quotes it`, () => {
      assert.throws(() => parseMac(text), startsWith(`"${text}" is not a MAC address: `));
    });
  }
});

describe('addresses', () => {
  it('ipv4 wraps to 32 bits unsigned, vni to 24', () => {
    assert.equal(ipv4(-1), 0xffff_ffff);
    assert.equal(ipv4(2 ** 32 + 1), 1);
    assert.equal(vni(0x1abcdef), 0xabcdef);
  });

  it('formatMac writes twelve digits', () => {
    assert.equal(formatMac(mac(1)), '00:00:00:00:00:01');
  });
});

describe('prefixes', () => {
  const range = parseCidr('10.32.0.0/12');

  it('cidrSize counts addresses from /32 to /0', () => {
    assert.equal(cidrSize(parseCidr('10.32.0.1/32')), 1);
    assert.equal(cidrSize(range), 2 ** 20);
    assert.equal(cidrSize(parseCidr('0.0.0.0/0')), 2 ** 32);
  });

  it('cidrContains is half-open', () => {
    const at = (text: string): boolean => cidrContains(range, parseIpv4(text));
    assert.deepEqual(['10.31.255.255', '10.32.0.0', '10.47.255.255', '10.48.0.0'].map(at), [
      false,
      true,
      true,
      false,
    ]);
    assert.ok(cidrContains(parseCidr('0.0.0.0/0'), parseIpv4('255.255.255.255')));
    assert.ok(cidrContains(parseCidr('255.255.255.0/24'), parseIpv4('255.255.255.255')));
  });

  it('cidrsOverlap sees containment both ways and not adjacency', () => {
    const overlap = (a: string, b: string): boolean => cidrsOverlap(parseCidr(a), parseCidr(b));
    assert.ok(overlap('10.32.0.0/12', '10.40.0.0/16'));
    assert.ok(overlap('10.40.0.0/16', '10.32.0.0/12'));
    assert.ok(overlap('10.32.0.0/12', '10.32.0.0/12'));
    assert.ok(overlap('0.0.0.0/0', '255.255.255.255/32'));
    assert.equal(overlap('10.32.0.0/26', '10.32.0.64/26'), false);
    assert.equal(overlap('10.32.0.64/26', '10.32.0.0/26'), false);
  });

  it('blockOf and blockCidr agree for every block at its first and last address', () => {
    assert.equal(blockCount(range, 26), 16_384);
    for (let index = 0; index < 16_384; index += 1) {
      const block = blockCidr(range, 26, blockIndex(index));
      assert.equal(blockOf(range, 26, block.base), index);
      assert.equal(blockOf(range, 26, ipv4(block.base + cidrSize(block) - 1)), index);
    }
  });

  it('blockOf is undefined outside the range', () => {
    assert.equal(blockOf(range, 26, parseIpv4('10.31.255.255')), undefined);
    assert.equal(blockOf(range, 26, parseIpv4('10.48.0.0')), undefined);
  });

  it('blocks of the whole range and of single addresses are numbered too', () => {
    assert.equal(blockCount(range, 12), 1);
    assert.equal(blockOf(range, 12, parseIpv4('10.47.255.255')), 0);
    assert.equal(blockOf(range, 32, parseIpv4('10.32.1.2')), 258);
  });
});
