// Where the doctor believes that the kernel's rules and routes send a packet, and how it reads those rules.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { parseCidr, parseIpv4 } from '../../proto/address-text.ts';
import { u32, encodeMessage, MESSAGE_HEADER_BYTES, u32be } from '../../proto/netlink.ts';
import { decodePolicyRule, RTM_NEWRULE } from '../../proto/rtnetlink-rule.ts';
import { findWay } from '../../agent/doctor/route-lookup.ts';
import { route, rule } from './doctor-scene.ts';

describe('route lookup', () => {
  const routes = [
    route('0.0.0.0/0', 2),
    route('10.32.0.0/12', 4),
    route('10.32.0.0/26', 3),
    route('0.0.0.0/0', 9, { table: 99 }),
  ];
  const rules = [rule(0, 255), rule(32_766, 254)];
  const packet = { source: parseIpv4('10.32.0.2'), destination: parseIpv4('10.32.0.65'), input: 'weave' };
  const index = (more: readonly ReturnType<typeof rule>[]): number | undefined =>
    findWay({ routes, rules: [...rules, ...more] }, packet).route?.index;

  it('takes the longest prefix of the first table that has one', () => {
    assert.equal(index([]), 4);
    assert.equal(index([rule(10, 99)]), 9);
    assert.equal(index([rule(10, 98)]), 4);
  });

  it('heeds source, input interface, inversion and suppressed prefixes of a rule', () => {
    assert.equal(index([rule(10, 99, { source: parseCidr('10.64.0.0/12') })]), 4);
    assert.equal(index([rule(10, 99, { source: parseCidr('10.32.0.0/12') })]), 9);
    assert.equal(index([rule(10, 99, { inputInterface: 'eth1' })]), 4);
    assert.equal(index([rule(10, 99, { inputInterface: 'eth1', isInverted: true })]), 9);
    assert.equal(index([rule(10, 99, { suppressedPrefixLength: 0 })]), 4);
    assert.equal(index([rule(10, 99, { mark: { value: 1, mask: 1 } })]), 4);
  });

  it('tells the rule that refuses', () => {
    const way = findWay({ routes, rules: [...rules, rule(5, 0, { action: 8 })] }, packet);
    assert.deepEqual([way.route, way.rule?.priority], [undefined, 5]);
  });
});

describe('decodePolicyRule', () => {
  const header = Uint8Array.of(2, 0, 12, 0, 99, 0, 0, 1, 2, 0, 0, 0);
  const message = (attributes: Parameters<typeof encodeMessage>[0]['attributes']): Uint8Array =>
    encodeMessage({ type: RTM_NEWRULE, flags: 0, header, attributes }).subarray(MESSAGE_HEADER_BYTES);

  it('reads priority, source, mark, table and inversion', () => {
    const payloadOfRule = message([u32be(2, parseIpv4('10.32.0.0')), u32(6, 100), u32(10, 5), u32(15, 1000)]);
    assert.deepEqual(decodePolicyRule(payloadOfRule), {
      ok: true,
      value: rule(100, 1000, {
        source: parseCidr('10.32.0.0/12'),
        mark: { value: 5, mask: 0xffff_ffff },
        isInverted: true,
      }),
    });
  });

  it('never throws, whatever is cut off', () => {
    const whole = message([u32(6, 100)]);
    for (let length = 0; length < whole.length; length++) {
      assert.doesNotThrow(() => decodePolicyRule(whole.subarray(0, length)));
    }
    assert.deepEqual(decodePolicyRule(whole.subarray(0, 11)), { ok: false, reason: 'truncated' });
  });
});
