// The shim's messages: round trips, every truncation, every single-bit flip, and random bytes. Decoders answer, they never throw.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { decodeNetworkConfig } from '../../proto/cni.ts';
import { decodeEnvironment } from '../../proto/cni-environment.ts';
import {
  decodeRequest,
  decodeResponse,
  decodeText,
  encodeRequest,
  encodeResponse,
  requestBytes,
} from '../../proto/shim-codec.ts';
import { MAX_REQUEST_BYTES, REQUEST_HEADER_BYTES } from '../../proto/shim-message.ts';
import {
  placed,
  randomBytes,
  randomInt,
  seededRandom,
  surroundingsIntact,
  testSeed,
} from '../support/random.ts';

const VARIABLES = [
  ['CNI_COMMAND', 'ADD'],
  ['CNI_ARGS', 'A=b;C=d=e'],
  ['WEFT_X', ''],
] as const;
const STDIN = new TextEncoder().encode('{"cniVersion":"1.1.0","name":"weft","type":"weft"}');
const REQUEST = encodeRequest({ descriptors: 2, environment: VARIABLES, stdin: STDIN });
const RESPONSE = encodeResponse({ status: 1, json: '{"code":11,"msg":"später"}' });

test('decodeRequest: gives back what was encoded, at any offset', () => {
  const input = placed(REQUEST);
  const request = decodeRequest(input.view);
  assert.ok(request.ok);
  assert.equal(request.value.descriptors, 2);
  assert.deepEqual([...request.value.environment], VARIABLES);
  assert.deepEqual([...request.value.stdin], [...STDIN]);
  assert.ok(surroundingsIntact(input));
});

test('decodeRequest: every truncation and every trailing byte is refused', () => {
  for (let length = 0; length < REQUEST.length; length += 1) {
    assert.deepEqual(decodeRequest(placed(REQUEST.subarray(0, length)).view), {
      ok: false,
      reason: 'truncated',
    });
  }
  const longer = new Uint8Array([...REQUEST, 0]);
  assert.deepEqual(decodeRequest(longer), { ok: false, reason: 'trailing-bytes' });
});

test('decodeRequest: every single-bit flip of the header is refused or changes what it says', () => {
  for (let bit = 0; bit < REQUEST_HEADER_BYTES * 8; bit += 1) {
    const flipped = Uint8Array.from(REQUEST);
    flipped[bit >> 3]! ^= 1 << (bit & 7); // !: inside the header
    const request = decodeRequest(placed(flipped).view);
    if (request.ok) assert.notDeepEqual(request.value, decodeRequest(REQUEST), `bit ${bit}`);
    if (bit < 48) assert.ok(!request.ok, `bit ${bit} of magic or version`);
  }
});

test('decodeRequest: each refusal has its reason', () => {
  const request = (text: string, change: (view: DataView) => void = () => {}): string => {
    const environment = new TextEncoder().encode(text);
    const bytes = encodeRequest({ descriptors: 0, environment: [], stdin: environment });
    const view = new DataView(bytes.buffer);
    view.setUint32(8, environment.length);
    view.setUint32(12, 0);
    change(view);
    const result = decodeRequest(bytes);
    return result.ok ? 'ok' : result.reason;
  };
  assert.equal(request('CNI_A=1\0'), 'ok');
  assert.equal(request(''), 'ok');
  assert.equal(request('CNI_A=1'), 'environment-malformed');
  assert.equal(request('CNI_A\0'), 'environment-malformed');
  assert.equal(request('PATH=/bin\0'), 'environment-malformed');
  assert.equal(request('\0'), 'environment-malformed');
  assert.equal(request('CNI_A=1\0CNI_A=2\0'), 'environment-duplicate');
  assert.equal(
    request('CNI_A=1\0', (view) => view.setUint16(6, 1)),
    'descriptor-count',
  );
  assert.equal(
    request('CNI_A=1\0', (view) => view.setUint16(4, 2)),
    'protocol-version',
  );
  assert.equal(
    request('CNI_A=1\0', (view) => view.setUint32(12, MAX_REQUEST_BYTES)),
    'too-large',
  );
  assert.equal(
    request('CNI_A=1\0', (view) => view.setUint32(8, 0xffffffff)),
    'too-large',
  );
});

test('requestBytes: tells the length as soon as the header is there, refuses foreign bytes at four', () => {
  for (let length = 0; length < REQUEST_HEADER_BYTES; length += 1) {
    assert.deepEqual(requestBytes(REQUEST.subarray(0, length)), { ok: true, value: undefined });
  }
  assert.deepEqual(requestBytes(REQUEST), { ok: true, value: REQUEST.length });
  assert.deepEqual(requestBytes(new TextEncoder().encode('GET ')), { ok: false, reason: 'not-weft' });
});

test('decodeResponse: round trip, every truncation, every header bit', () => {
  assert.deepEqual(decodeResponse(placed(RESPONSE).view), {
    ok: true,
    value: { status: 1, json: '{"code":11,"msg":"später"}' },
  });
  for (let length = 0; length < RESPONSE.length; length += 1) {
    assert.ok(!decodeResponse(RESPONSE.subarray(0, length)).ok, `length ${length}`);
  }
  for (let bit = 0; bit < 96; bit += 1) {
    const flipped = Uint8Array.from(RESPONSE);
    flipped[bit >> 3]! ^= 1 << (bit & 7); // !: inside the header
    const response = decodeResponse(flipped);
    assert.ok(!response.ok || response.value.status !== 1, `bit ${bit}`);
  }
});

test('decoders never throw: random and half-valid input', () => {
  const seed = testSeed();
  console.log(`seed ${seed}`);
  const random = seededRandom(seed);
  for (let round = 0; round < 20_000; round += 1) {
    const bytes =
      round % 2 === 0
        ? randomBytes(random, randomInt(random, 64))
        : Uint8Array.from(REQUEST, (byte) => (random() < 0.02 ? randomInt(random, 256) : byte));
    requestBytes(bytes);
    decodeResponse(bytes);
    const request = decodeRequest(bytes);
    if (!request.ok) continue;
    decodeEnvironment(request.value.environment);
    const text = decodeText(request.value.stdin);
    if (text !== undefined) decodeNetworkConfig(randomValue(random, 0));
  }
});

const KEYS = [
  'cniVersion',
  'name',
  'type',
  'dns',
  'prevResult',
  'cni.dev/valid-attachments',
  'ips',
  'interfaces',
];

function randomValue(random: () => number, depth: number): unknown {
  const leaves = [null, true, 1, -0.5, '', '1.1.0', 'weft', [], {}];
  if (depth > 3 || random() < 0.4) return leaves[randomInt(random, leaves.length)];
  if (random() < 0.3) return [randomValue(random, depth + 1), randomValue(random, depth + 1)];
  return Object.fromEntries(KEYS.map((key) => [key, randomValue(random, depth + 1)]));
}
