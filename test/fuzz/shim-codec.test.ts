// The shim's messages: round trips, every truncation, every single-bit flip, and a million mutated ones. Decoders answer, they never
// throw.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { type CniInvocation, decodeEnvironment } from '../../proto/cni-environment.ts';
import {
  decodeRequest,
  decodeResponse,
  decodeText,
  encodeRequest,
  encodeResponse,
  requestBytes,
} from '../../proto/shim-codec.ts';
import { MAX_REQUEST_BYTES, REQUEST_HEADER_BYTES } from '../../proto/shim-message.ts';
import { placed, randomInt, surroundingsIntact } from '../support/random.ts';
import { fuzz } from './fuzzing.ts';
import { ByteMutator, mutateJson } from './mutation.ts';

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

const INVOCATION: Readonly<Record<string, string>> = {
  CNI_COMMAND: 'ADD',
  CNI_CONTAINERID: 'c0ffee',
  CNI_IFNAME: 'eth0',
  CNI_NETNS: '/run/netns/cni-1',
  CNI_PATH: '/opt/cni/bin',
  CNI_ARGS: 'IgnoreUnknown=1;K8S_POD_NAME=web;K8S_POD_NAMESPACE=default',
};
const TOMBSTONE = encodeRequest({
  descriptors: 0,
  environment: Object.entries({ ...INVOCATION, CNI_COMMAND: 'DEL' }),
  stdin: STDIN,
});
const mutator = new ByteMutator(
  [REQUEST, TOMBSTONE, RESPONSE],
  [
    'WEFT',
    '\0',
    '\0CNI_IFNAME=x\0',
    'CNI_',
    '=',
    new Uint8Array([0, 0, 0, 1]),
    new Uint8Array([0xff, 0xff, 0xff, 0xff]),
  ],
);
const VOCABULARY = {
  keys: [
    'CNI_COMMAND',
    'CNI_IFNAME',
    'CNI_NETNS',
    'CNI_CONTAINERID',
    'CNI_ARGS',
    'WEFT_X',
    'PATH',
    'CNI_A=B',
  ],
  values: [
    'ADD',
    'DEL',
    'CHECK',
    'GC',
    'STATUS',
    'VERSION',
    'add',
    '.',
    '..',
    'a/b',
    'sixteencharacter',
    'IP=10.32.0.5;MAC=x',
    'A',
    '',
  ],
};

/** A request whose frame is right and whose variables are mutated. */
function framedRequest(random: () => number): Uint8Array {
  const variables = mutateJson(random, INVOCATION, { changes: randomInt(random, 4), vocabulary: VOCABULARY });
  const environment = Object.entries(variables ?? {}).filter(
    (entry): entry is [string, string] => typeof entry[1] === 'string',
  );
  const twice = random() < 0.005 ? environment.slice(0, 1) : [];
  return encodeRequest({
    descriptors: 2 * randomInt(random, 2),
    environment: [...environment, ...twice],
    stdin: STDIN,
  });
}

/** What no invocation may have, read anew from the specification (section 2, "Parameters") and the kernel. */
function forbidden(invocation: CniInvocation): string | undefined {
  if (!['ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION'].includes(invocation.command)) return 'command';
  if (!('containerId' in invocation)) return undefined;
  const { containerId, interfaceName, netns } = invocation;
  const letters = containerId.split('');
  const isPlain = (letter: string): boolean =>
    (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') || (letter >= '0' && letter <= '9');
  if (!isPlain(letters[0] ?? '') || !letters.every((letter) => isPlain(letter) || '_.-'.includes(letter)))
    return 'containerId';
  const name = Buffer.from(interfaceName);
  if (name.length === 0 || name.length > 15 || interfaceName === '.' || interfaceName === '..')
    return 'interfaceName';
  if (
    name.some((byte) => byte <= 0x20 && [0, 9, 10, 11, 12, 13, 32].includes(byte)) ||
    name.includes('/') ||
    name.includes(':')
  )
    return 'interfaceName';
  if (netns !== undefined && !netns.startsWith('/')) return 'netns';
  return netns === undefined && invocation.command !== 'DEL' ? 'no netns' : undefined;
}

function attempt(random: () => number): string {
  const bytes = random() < 0.6 ? mutator.mutate(random) : framedRequest(random);
  const response = decodeResponse(bytes);
  if (response.ok) {
    assert.ok(Buffer.from(encodeResponse(response.value)).equals(bytes));
    return 'response';
  }
  const length = requestBytes(bytes);
  const request = decodeRequest(bytes);
  if (!request.ok) return request.reason;
  assert.ok(length.ok && length.value === bytes.length);
  const { environment, stdin } = request.value;
  const again = encodeRequest(request.value);
  // What is not UTF-8 has become U+FFFD, which no rule below admits but in a path or an argument.
  if (![...environment.values(), ...environment.keys()].some((text) => text.includes('\ufffd')))
    assert.ok(Buffer.from(again).equals(bytes));
  decodeText(stdin);
  const invocation = decodeEnvironment(environment);
  if (!invocation.ok) return invocation.reason;
  assert.equal(forbidden(invocation.value), undefined);
  return invocation.value.command;
}

test('shim messages and environment: nothing crashes, hangs, or is accepted against the specification', (t) => {
  const frames = [
    'response',
    'truncated',
    'not-weft',
    'protocol-version',
    'descriptor-count',
    'too-large',
    'trailing-bytes',
  ];
  const environments = [
    'environment-malformed',
    'environment-duplicate',
    'command',
    'container-id-missing',
    'container-id-malformed',
  ];
  const rules = [
    'interface-name-missing',
    'interface-name-malformed',
    'netns-missing',
    'netns-malformed',
    'path-missing',
  ];
  const others = [
    'arguments-malformed',
    'arguments-unknown',
    'ADD',
    'DEL',
    'CHECK',
    'GC',
    'STATUS',
    'VERSION',
  ];
  fuzz(t, { attempt, outcomes: [...frames, ...environments, ...rules, ...others] });
});
