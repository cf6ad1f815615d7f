import assert from 'node:assert/strict';
import { test } from 'node:test';

import { type HandOverMessage, decodeHandOver, encodeHandOver } from '../../agent/hand-over/message.ts';

const MESSAGES: readonly HandOverMessage[] = [
  { kind: 'hello', protocol: 2, version: '0.1.0' },
  { kind: 'descriptors', version: '0.1.0', bound: '192.0.2.1:6784', workers: 4 },
  { kind: 'busy' },
  { kind: 'go' },
  { kind: 'yours' },
];

test('decodeHandOver gives back what encodeHandOver was given, in a datagram of 1 KiB', () => {
  for (const message of MESSAGES) {
    const text = encodeHandOver(message);
    assert.ok(text.length < 1024);
    assert.deepEqual(decodeHandOver(text), { ok: true, value: message });
  }
});

test('decodeHandOver ignores fields that a later version added', () => {
  const text = JSON.stringify({ ...MESSAGES[0], extra: [1] });
  assert.deepEqual(decodeHandOver(text), { ok: true, value: MESSAGES[0] });
});

test('decodeHandOver takes an agent that does not say how many workers it has for one of one worker', () => {
  const text = '{"kind":"descriptors","version":"0.1.0","bound":"192.0.2.1:6784"}';
  assert.deepEqual(decodeHandOver(text), {
    ok: true,
    value: { kind: 'descriptors', version: '0.1.0', bound: '192.0.2.1:6784', workers: 1 },
  });
  for (const workers of [0, 9, 1.5, '2', null]) {
    const wrong = JSON.stringify({ kind: 'descriptors', version: 'x', bound: 'y', workers });
    assert.deepEqual(decodeHandOver(wrong), { ok: false, reason: 'malformed' }, wrong);
  }
});

test('decodeHandOver refuses by reason, and every cut message', () => {
  for (const text of [
    '',
    '[',
    'null',
    '7',
    '{"kind":"hello"}',
    '{"kind":"hello","protocol":"1","version":"x"}',
  ]) {
    assert.equal(decodeHandOver(text).ok, false, text);
  }
  assert.deepEqual(decodeHandOver('{"kind":"descriptors","bound":1,"version":"x"}'), {
    ok: false,
    reason: 'malformed',
  });
  assert.deepEqual(decodeHandOver('{"kind":"later"}'), { ok: false, reason: 'unknown' });
  for (const message of MESSAGES) {
    const text = encodeHandOver(message);
    for (let length = 0; length < text.length; length++) {
      assert.equal(decodeHandOver(text.slice(0, length)).ok, false, text.slice(0, length));
    }
  }
});
