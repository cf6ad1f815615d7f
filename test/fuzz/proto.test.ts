// Random datagrams through the codecs and through slow-parser.ts: the same facts or the same refusal, and byte-for-byte emission of what was
// taken. WEFT_TEST_SEED repeats a run, WEFT_FUZZ_FRAMES makes it longer.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { transportChecksumState } from '../../proto/checksum.ts';
import { decodeEthernet } from '../../proto/ethernet.ts';
import { decodeIcmp } from '../../proto/icmp.ts';
import { type Ipv4Packet, decodeIpv4Packet } from '../../proto/ipv4-packet.ts';
import { decodeProbe } from '../../proto/probe.ts';
import { TCP_CHECKSUM_OFFSET, decodeTcp, decodeTcpOptions } from '../../proto/tcp.ts';
import { UDP_CHECKSUM_OFFSET, decodeUdp } from '../../proto/udp.ts';
import { decodeVxlan } from '../../proto/vxlan.ts';
import { placed, seededRandom, testSeed } from '../support/random.ts';
import { reencodeVxlan } from '../vectors/reencode.ts';
import { randomDatagram } from './random-frames.ts';
import { type Fact, parseVxlan } from './slow-parser.ts';

const FRAMES = Number(process.env['WEFT_FUZZ_FRAMES'] ?? 40_000);

/** Every refusal that a datagram can meet: a run that misses one did not try it. */
const REFUSALS = [
  'vxlan: truncated',
  'vxlan: flags',
  'ethernet: truncated',
  'probe: truncated',
  'probe: magic',
  'probe: version',
  'probe: kind',
  'probe: request_bytes',
  'ipv4: truncated',
  'ipv4: version',
  'ipv4: header_length',
  'ipv4: total_length',
  'ipv4: header_checksum',
  'tcp: truncated',
  'tcp: data_offset',
  'udp: truncated',
  'udp: length',
  'icmp: truncated',
  'icmp: checksum',
  'icmp: echo_code',
  'icmp: unused_bits',
];

function factsOfVxlan(bytes: Uint8Array): Fact[] {
  const result = decodeVxlan(bytes);
  if (!result.ok) return [`vxlan: ${result.reason}`];
  return ['vxlan', result.value.vni, ...factsOfEthernet(result.value.frame)];
}

function factsOfEthernet(bytes: Uint8Array): Fact[] {
  const result = decodeEthernet(bytes);
  if (!result.ok) return [`ethernet: ${result.reason}`];
  const { destination, source, etherType, payload } = result.value;
  const facts: Fact[] = ['ethernet', destination, source, etherType];
  if (etherType === 0x0800) return [...facts, ...factsOfIpv4(payload)];
  if (etherType === 0x88b5) return [...facts, ...factsOfProbe(payload)];
  return [...facts, payload.length];
}

function factsOfProbe(bytes: Uint8Array): Fact[] {
  const result = decodeProbe(bytes);
  if (!result.ok) return [`probe: ${result.reason}`];
  const { kind, requestBytes, sequence, timeHigh, timeLow, padding } = result.value;
  return ['probe', kind, requestBytes, sequence, timeHigh, timeLow, padding.length];
}

function factsOfIpv4(bytes: Uint8Array): Fact[] {
  const result = decodeIpv4Packet(bytes);
  if (!result.ok) return [`ipv4: ${result.reason}`];
  const { payload, options, ...fields } = result.value;
  const facts: Fact[] = [
    'ipv4',
    fields.typeOfService,
    fields.identification,
    fields.reservedFlag,
    fields.dontFragment,
    fields.moreFragments,
    fields.fragmentOffset,
    fields.timeToLive,
    fields.protocol,
    fields.source,
    fields.destination,
    options.join('.'),
  ];
  if (fields.moreFragments || fields.fragmentOffset > 0) return [...facts, 'fragment', payload.length];
  return [...facts, ...factsOfTransport(result.value)];
}

function factsOfTransport(packet: Ipv4Packet): Fact[] {
  switch (packet.protocol) {
    case 1:
      return factsOfIcmp(packet.payload);
    case 6:
      return factsOfTcp(packet);
    case 17:
      return factsOfUdp(packet);
    default:
      return [packet.payload.length];
  }
}

const checksumState = (packet: Ipv4Packet, checksumOffset: number): string =>
  transportChecksumState({
    pseudoHeader: { ...packet, transportBytes: packet.payload.length },
    segment: packet.payload,
    checksumOffset,
  });

function factsOfTcp(packet: Ipv4Packet): Fact[] {
  const result = decodeTcp(packet.payload);
  if (!result.ok) return [`tcp: ${result.reason}`];
  const { options, payload, ...fields } = result.value;
  return [
    'tcp',
    fields.sourcePort,
    fields.destinationPort,
    fields.sequence,
    fields.acknowledgment,
    fields.flags,
    fields.window,
    fields.checksum,
    fields.urgentPointer,
    checksumState(packet, TCP_CHECKSUM_OFFSET),
    walkedOptions(options),
    payload.length,
  ];
}

function walkedOptions(options: Uint8Array): string {
  const result = decodeTcpOptions(options);
  if (!result.ok) return result.reason;
  return [
    ...result.value.map(({ kind, data }) => (kind === 1 ? '1' : `${kind}:${data.join('.')}`)),
    'end',
  ].join(' ');
}

function factsOfUdp(packet: Ipv4Packet): Fact[] {
  const result = decodeUdp(packet.payload);
  if (!result.ok) return [`udp: ${result.reason}`];
  const { sourcePort, destinationPort, checksum, payload } = result.value;
  return [
    'udp',
    sourcePort,
    destinationPort,
    checksum,
    checksumState(packet, UDP_CHECKSUM_OFFSET),
    payload.length,
  ];
}

function factsOfIcmp(bytes: Uint8Array): Fact[] {
  const result = decodeIcmp(bytes);
  if (!result.ok) return [`icmp: ${result.reason}`];
  const message = result.value;
  switch (message.kind) {
    case 'echo_request':
    case 'echo_reply':
      return ['icmp', message.kind, message.identifier, message.sequence, message.data.length];
    case 'unreachable':
      return [
        'icmp',
        message.kind,
        message.code,
        message.nextHopMtu,
        message.quotedWords,
        message.quoted.length,
      ];
    case 'other':
      return ['icmp', message.kind, message.type, message.code, message.rest, message.data.length];
    default:
      return message satisfies never;
  }
}

/** Of a bad list of TCP options only the verdict: the slow walk also says what came before. */
const comparable = (facts: readonly Fact[]): string =>
  facts
    .map((fact) => (typeof fact === 'string' && fact.endsWith('option_length') ? 'option_length' : fact))
    .join('|');

describe('packet codecs', () => {
  it(`agree with the slow parser on ${FRAMES} random datagrams and emit again what they take`, (t) => {
    const seed = testSeed();
    t.diagnostic(`WEFT_TEST_SEED=${seed}`);
    const random = seededRandom(seed);
    const met = new Map<string, number>();
    for (let frame = 0; frame < FRAMES; frame += 1) {
      const bytes = randomDatagram(random);
      const { view } = placed(Uint8Array.from(bytes), 1 + (frame % 8));
      const facts = factsOfVxlan(view);
      const where = (): string => `frame ${frame} of seed ${seed}: ${Buffer.from(bytes).toString('hex')}`;
      const [mine, theirs] = [comparable(facts), comparable(parseVxlan(bytes))];
      if (mine !== theirs) assert.equal(mine, theirs, where());
      const again = reencodeVxlan(view);
      const last = String(facts.at(-1));
      if (again.ok) assert.equal(Buffer.compare(again.value, view), 0, where());
      else assert.equal(again.reason, last, where());
      const outcome = again.ok ? 'taken' : again.reason;
      met.set(outcome, (met.get(outcome) ?? 0) + 1);
    }
    const taken = met.get('taken') ?? 0;
    t.diagnostic(
      `${FRAMES} datagrams: ${taken} taken, ${FRAMES - taken} refused for ${met.size - 1} reasons`,
    );
    for (const refusal of REFUSALS) assert.ok(met.has(refusal), `no datagram was refused with "${refusal}"`);
    assert.equal(met.size, REFUSALS.length + 1, [...met.keys()].join(', '));
  });
});
