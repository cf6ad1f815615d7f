// The file that `weft capture -w` writes, read back by an independent reader and by tcpdump; and the lines for people.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';

import {
  type CaptureSurroundings,
  fileHeader,
  filePacket,
  fileTrailer,
  line,
  timeOfDay,
} from '../../agent/wire/capture-output.ts';
import { ipv4 } from '../../proto/address.ts';
import type { CapturedPacket } from '../../proto/capture-ring.ts';
import { decodeIpv4Header } from '../../proto/ipv4-packet.ts';
import {
  OTHER_PEER_POD,
  PEER_POD,
  SELF_POD,
  ipPacket,
  overlayFrame,
  tcpPacket,
  udpPacket,
} from '../support/dataplane-rig.ts';
import { randomBytes, randomInt, seededRandom, testSeed } from '../support/random.ts';

const seed = testSeed();
const BASE_US = 1_700_000_000_000_000;
const PEER = ipv4(0xac1f_000c);
const surroundings: CaptureSurroundings = {
  own: { address: ipv4(0xac1f_000b), port: 6784 },
  nameOfSlot: (slot) => (slot === 3 ? 'node-2' : undefined),
  names: [{ address: PEER, name: 'node-2' }],
  wallUs: (ms) => BASE_US + Math.round(ms * 1000),
  version: '1.2.3',
  snapLength: 256,
};
const inside = { source: SELF_POD, destination: PEER_POD };
const tcp = tcpPacket(inside, { sourcePort: 4242, destinationPort: 80, payload: new Uint8Array(100) });
const captured = (given: Partial<CapturedPacket>): CapturedPacket => ({
  point: 'inner_egress',
  reason: undefined,
  slot: 3,
  timeMs: 1234.567,
  length: tcp.length,
  bytes: tcp,
  form: 'packet',
  outerAddress: PEER,
  outerPort: 6784,
  sourcePort: undefined,
  ...given,
});

interface Block {
  readonly type: number;
  readonly body: DataView;
}

/** Slow and strict: every length twice, padding zero. */
function blocksOf(file: Uint8Array): readonly Block[] {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const blocks: Block[] = [];
  for (let at = 0; at < file.length;) {
    const length = view.getUint32(at + 4, true);
    assert.equal(length % 4, 0);
    assert.equal(view.getUint32(at + length - 4, true), length, 'the length at the end');
    blocks.push({
      type: view.getUint32(at, true),
      body: new DataView(file.buffer, file.byteOffset + at + 8, length - 12),
    });
    at += length;
  }
  return blocks;
}

function optionsOf(body: DataView, from: number): ReadonlyMap<number, Uint8Array> {
  const options = new Map<number, Uint8Array>();
  for (let at = from; at < body.byteLength;) {
    const code = body.getUint16(at, true);
    const length = body.getUint16(at + 2, true);
    if (code === 0) {
      assert.equal(length, 0);
      assert.equal(at + 4, body.byteLength, 'nothing follows the end of options');
      return options;
    }
    options.set(code, new Uint8Array(body.buffer, body.byteOffset + at + 4, length));
    at += 4 + Math.ceil(length / 4) * 4;
  }
  assert.equal(options.size, 0, 'options without their end');
  return options;
}

const textOf = (options: ReadonlyMap<number, Uint8Array>, code: number): string =>
  new TextDecoder().decode(options.get(code));

const fileOf = (packets: readonly CapturedPacket[]): Uint8Array =>
  new Uint8Array(
    Buffer.concat([
      fileHeader(surroundings, { node: 'node-1', command: 'weft capture --outer' }),
      ...packets.map((packet) => filePacket(packet, surroundings)),
      fileTrailer([packets.length], 5, BASE_US),
    ]),
  );

test('section, four interfaces, names, packets with direction and comment, statistics', () => {
  const dropped = captured({
    point: 'dropped_ingress',
    reason: 'vxlan_vni',
    form: 'frame',
    bytes: overlayFrame(tcp),
    length: overlayFrame(tcp).length,
  });
  const [section, ...rest] = blocksOf(fileOf([captured({}), dropped]));
  assert.equal(section?.type, 0x0a0d0d0a);
  assert.equal(section.body.getUint32(0, true), 0x1a2b3c4d);
  assert.deepEqual([section.body.getUint16(4, true), section.body.getUint16(6, true)], [1, 0]);
  assert.match(
    textOf(optionsOf(section.body, 16), 1),
    /node node-1: weft capture --outer; .* udp\.port==6784,vxlan/,
  );
  assert.deepEqual(
    rest.map(({ type }) => type),
    [1, 1, 1, 1, 4, 6, 6, 5, 5, 5, 5],
  );
  const interfaces = rest.slice(0, 4).map(({ body }) => ({
    linkType: body.getUint16(0, true),
    snap: body.getUint32(4, true),
    name: textOf(optionsOf(body, 8), 2),
  }));
  assert.deepEqual(
    interfaces.map(({ name }) => name),
    ['inner-egress', 'inner-ingress', 'outer', 'dropped'],
  );
  assert.ok(interfaces.every(({ linkType, snap }) => linkType === 228 && snap === 284));
  const [first, second] = rest.filter(({ type }) => type === 6).map(({ body }) => body);
  assert.ok(first !== undefined && second !== undefined);
  assert.equal(first.getUint32(4, true) * 2 ** 32 + first.getUint32(8, true), BASE_US + 1_234_567);
  assert.deepEqual(
    [first.getUint32(0, true), first.getUint32(12, true), first.getUint32(16, true)],
    [0, tcp.length, tcp.length],
  );
  const bodyEnd = 20 + Math.ceil(tcp.length / 4) * 4;
  assert.deepEqual(new Uint8Array(first.buffer, first.byteOffset + 20, tcp.length), tcp);
  assert.deepEqual(optionsOf(first, bodyEnd).get(2), Uint8Array.of(2, 0, 0, 0)); // outbound
  assert.equal(textOf(optionsOf(first, bodyEnd), 1), 'to node-2');
  const length = second.getUint32(12, true);
  assert.equal(second.getUint32(0, true), 3);
  assert.equal(
    textOf(optionsOf(second, 20 + Math.ceil(length / 4) * 4), 1),
    'from node-2, dropped: vxlan_vni',
  );
  assert.deepEqual(optionsOf(second, 20 + Math.ceil(length / 4) * 4).get(2), Uint8Array.of(1, 0, 0, 0)); // inbound
  const outer = new Uint8Array(second.buffer, second.byteOffset + 20, length);
  const header = decodeIpv4Header(outer);
  assert.ok(header.ok);
  assert.deepEqual(
    [header.value.source, header.value.destination, header.value.totalLength],
    [PEER, surroundings.own.address, length],
  );
});

const hasTcpdump = spawnSync('tcpdump', ['--version']).status === 0;

test(
  'tcpdump reads it: inner, outer and cut packets',
  { skip: hasTcpdump ? false : 'there is no tcpdump here' },
  () => {
    const frame = overlayFrame(
      udpPacket(inside, { sourcePort: 7, destinationPort: 53, payload: new Uint8Array(400) }),
    );
    const file = fileOf([
      captured({}),
      captured({ point: 'inner_ingress', bytes: tcp.slice(0, 40) }),
      captured({
        point: 'outer_egress',
        form: 'frame',
        bytes: frame.slice(0, 256),
        length: frame.length,
        sourcePort: 41_000,
      }),
    ]);
    const { stdout, stderr, status } = spawnSync('tcpdump', ['-nn', '-T', 'vxlan', '-r', '-'], {
      input: file,
      encoding: 'utf8',
    });
    assert.equal(status, 0, stderr);
    const lines = stdout.split('\n').filter((text) => /^\d\d:/.test(text));
    assert.equal(lines.length, 3, stdout);
    assert.match(lines[0] ?? '', /10\.32\.0\.5\.4242 > 10\.32\.0\.69\.80: Flags \[\.\].* length 100/);
    assert.match(
      lines[2] ?? '',
      /172\.31\.0\.11\.41000 > 172\.31\.0\.12\.6784: VXLAN, flags \[I\] \(0x08\), vni 11259375/,
    );
  },
);

test('lines say where, who, what, how much and why', () => {
  const said = (packet: Partial<CapturedPacket>): string => line(captured(packet), surroundings).trimEnd();
  assert.equal(
    said({}),
    '22:13:21.234567 inner out node-2 | 10.32.0.5:4242 > 10.32.0.69:80 tcp [.] seq 1 payload 100, 140 B',
  );
  const fragment = ipPacket({
    ...inside,
    protocol: 17,
    moreFragments: true,
    fragmentOffset: 1480,
    payload: new Uint8Array(16),
  });
  assert.match(
    said({ bytes: fragment, length: 36 }),
    /10\.32\.0\.5 > 10\.32\.0\.69 udp, 36 B, fragment at 1480\+$/,
  );
  assert.match(
    said({ point: 'dropped_egress', reason: 'egress_no_owner', slot: undefined, outerAddress: ipv4(0) }),
    /DROP {2}out - \| .* -- dropped: egress_no_owner$/,
  );
  assert.match(said({ slot: undefined }), /inner out 172\.31\.0\.12 \|/);
  const frame = overlayFrame(udpPacket({ source: OTHER_PEER_POD, destination: SELF_POD }, {}));
  assert.match(
    said({ point: 'outer_ingress', form: 'frame', bytes: frame, length: frame.length }),
    /outer in {2}node-2 \| vni 11259375 [0-9a-f:]{17} > [0-9a-f:]{17} \| 10\.32\.0\.133:5000 > 10\.32\.0\.5:53 udp payload 0, 28 B$/,
  );
  assert.equal(timeOfDay(BASE_US + 3), '22:13:20.000003');
});

test(`whatever the bytes, a line and a block come out (seed ${seed})`, () => {
  const random = seededRandom(seed);
  const frame = overlayFrame(tcp);
  for (let round = 0; round < 3000; round++) {
    const form = random() < 0.5 ? 'packet' : 'frame';
    const bytes =
      random() < 0.3
        ? randomBytes(random, randomInt(random, 90))
        : (form === 'packet' ? tcp : frame).slice(0, randomInt(random, 90));
    for (let flip = randomInt(random, 3); flip > 0 && bytes.length > 0; flip--)
      bytes[randomInt(random, bytes.length)] = randomInt(random, 256);
    const packet = captured({ form, bytes, length: bytes.length + randomInt(random, 9) });
    assert.match(line(packet, surroundings), /^[^\n]+\n$/);
    assert.equal(blocksOf(filePacket(packet, surroundings)).length, 1);
  }
});
