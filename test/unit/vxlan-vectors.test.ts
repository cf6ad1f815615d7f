// The codecs against what the kernel's vxlan device sent (test/vectors): meaning, byte-for-byte emission, every truncation, every bit flip.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { parseIpv4 } from '../../proto/address-text.ts';
import { formatIpv4, formatMac } from '../../proto/address.ts';
import { storeWord, transportChecksum, transportChecksumState } from '../../proto/checksum.ts';
import type { Decoded } from '../../proto/decoded.ts';
import {
  BROADCAST_MAC,
  ETHERNET_HEADER_BYTES,
  ETHERTYPE_ARP,
  type EthernetFrame,
  decodeEthernet,
} from '../../proto/ethernet.ts';
import { type IcmpEcho, type IcmpMessage, decodeIcmp } from '../../proto/icmp.ts';
import {
  IP_PROTOCOL_UDP,
  type Ipv4Packet,
  decodeIpv4Header,
  decodeIpv4Packet,
} from '../../proto/ipv4-packet.ts';
import {
  TCP_CHECKSUM_OFFSET,
  TCP_FLAG_ACK,
  TCP_FLAG_FIN,
  TCP_FLAG_SYN,
  TCP_OPTION_MAXIMUM_SEGMENT_SIZE,
  decodeTcp,
  decodeTcpOptions,
} from '../../proto/tcp.ts';
import { UDP_CHECKSUM_OFFSET, UDP_LENGTH_OFFSET, decodeUdp } from '../../proto/udp.ts';
import { VXLAN_HEADER_BYTES, decodeVxlan } from '../../proto/vxlan.ts';
import { placed } from '../support/random.ts';
import { reencodeEthernet, reencodeVxlan } from '../vectors/reencode.ts';
import { TUNNEL_PORT, VECTOR_FILES, type VectorFile, readVectors } from '../vectors/vxlan-vectors.ts';

const LEFT = { underlay: '192.0.2.1', address: '10.32.0.1', vtepMac: '0e:00:00:00:00:01' };
const RIGHT = { underlay: '192.0.2.2', address: '10.32.0.65', vtepMac: '0e:00:00:00:00:02' };

function taken<T>(result: Decoded<T>): T {
  assert.ok(result.ok, result.ok ? '' : result.reason);
  return result.value;
}

interface Layers {
  readonly outer: Ipv4Packet;
  readonly vni: number;
  readonly inner: EthernetFrame;
}

function layersOf(frame: Uint8Array): Layers {
  const outer = taken(decodeIpv4Packet(taken(decodeEthernet(placed(frame).view)).payload));
  const { vni, frame: inner } = taken(decodeVxlan(taken(decodeUdp(outer.payload)).payload));
  return { outer, vni, inner: taken(decodeEthernet(inner)) };
}

const layersIn = (file: VectorFile): readonly Layers[] => readVectors(file).map((frame) => layersOf(frame));
const innerPackets = (file: VectorFile): readonly Ipv4Packet[] =>
  layersIn(file).map(({ inner }) => taken(decodeIpv4Packet(inner.payload)));
const icmpMessages = (): readonly IcmpMessage[] =>
  innerPackets('vxlan-icmp.json').map((packet) => taken(decodeIcmp(packet.payload)));

const isEcho = (message: IcmpMessage): message is IcmpEcho =>
  message.kind === 'echo_request' || message.kind === 'echo_reply';

const checksumState = (packet: Ipv4Packet, checksumOffset: number): string =>
  transportChecksumState({
    pseudoHeader: { ...packet, transportBytes: packet.payload.length },
    segment: packet.payload,
    checksumOffset,
  });

describe('vectors of the kernel vxlan device', () => {
  for (const file of VECTOR_FILES) {
    it(`${file} carries VNI 1 between the two VTEPs as it was programmed`, () => {
      const frames = layersIn(file);
      assert.notEqual(frames.length, 0);
      for (const { outer, vni, inner } of frames) {
        const [from, to] = formatIpv4(outer.source) === LEFT.underlay ? [LEFT, RIGHT] : [RIGHT, LEFT];
        assert.equal(vni, 1);
        assert.equal(taken(decodeUdp(outer.payload)).destinationPort, TUNNEL_PORT);
        assert.equal(formatIpv4(outer.source), from.underlay);
        assert.equal(formatIpv4(outer.destination), to.underlay);
        assert.equal(formatMac(inner.source), from.vtepMac);
        if (inner.etherType === ETHERTYPE_ARP) continue;
        assert.equal(formatMac(inner.destination), to.vtepMac);
        assert.equal(formatIpv4(taken(decodeIpv4Packet(inner.payload)).source), from.address);
      }
    });

    it(`${file} is emitted again byte for byte`, () => {
      for (const frame of readVectors(file))
        assert.deepEqual(reencodeEthernet(placed(frame).view), { ok: true, value: frame });
    });

    it(`${file} with any bit flipped is refused or emitted again with that bit flipped`, () => {
      for (const frame of readVectors(file)) {
        const { view } = placed(frame);
        for (let bit = 0; bit < frame.length * 8; bit += 1) {
          view[bit >> 3]! ^= 0x80 >> (bit & 7);
          const again = reencodeEthernet(view);
          if (again.ok && Buffer.compare(again.value, view) !== 0) assert.fail(`bit ${bit} was lost`);
          view[bit >> 3]! ^= 0x80 >> (bit & 7);
        }
      }
    });

    it(`${file} is refused as a datagram at every truncation that cuts a header or an inner IPv4 packet`, () => {
      for (const frame of readVectors(file)) {
        const { outer, inner } = layersOf(frame);
        const datagram = taken(decodeUdp(outer.payload)).payload;
        const headers = VXLAN_HEADER_BYTES + ETHERNET_HEADER_BYTES;
        const needed = inner.etherType === ETHERTYPE_ARP ? headers : datagram.length;
        for (let length = 0; length < datagram.length; length += 1) {
          const again = reencodeVxlan(placed(datagram.subarray(0, length)).view);
          assert.equal(again.ok, length >= needed, `${length} of ${datagram.length} bytes`);
        }
      }
    });
  }

  it('vxlan-arp.json is a broadcast', () => {
    for (const { inner } of layersIn('vxlan-arp.json')) {
      assert.equal(inner.etherType, ETHERTYPE_ARP);
      assert.equal(inner.destination, BROADCAST_MAC);
    }
  });

  it('vxlan-icmp.json holds echoes of even and odd length with equal data both ways', () => {
    const echoes = icmpMessages().filter(isEcho);
    for (const dataBytes of [56, 33]) {
      const [request, reply, ...more] = echoes.filter(({ data }) => data.length === dataBytes);
      assert.deepEqual(more, []);
      assert.deepEqual([request?.kind, reply?.kind], ['echo_request', 'echo_reply']);
      assert.deepEqual({ ...request, kind: '' }, { ...reply, kind: '' });
    }
  });

  it('vxlan-icmp.json: fragmentation needed states the next hop MTU and quotes the refused header', () => {
    const errors = icmpMessages().filter((message) => message.kind === 'unreachable');
    const needed = errors.find(({ code }) => code === 4);
    assert.equal(needed?.nextHopMtu, 1000);
    const quoted = taken(decodeIpv4Header(needed.quoted));
    assert.equal(formatIpv4(quoted.destination), '10.32.0.130');
    assert.equal(quoted.totalLength, 1228);
    assert.equal(quoted.dontFragment, true);
    const port = errors.find(({ code }) => code === 3);
    assert.ok(port);
    assert.equal(taken(decodeIpv4Header(port.quoted)).protocol, IP_PROTOCOL_UDP);
  });

  for (const file of ['vxlan-udp.json', 'vxlan-udp-partial.json'] as const) {
    it(`${file} holds empty, odd and full datagrams`, () => {
      const whole = innerPackets(file).filter(
        (packet) => !packet.moreFragments && packet.fragmentOffset === 0,
      );
      const sizes = whole.map((packet) => taken(decodeUdp(packet.payload)).payload.length);
      assert.deepEqual(sizes, [12, 0, 1, 33, 1422]);
      const expected = file === 'vxlan-udp.json' ? 'complete' : 'partial';
      for (const packet of whole) assert.equal(checksumState(packet, UDP_CHECKSUM_OFFSET), expected);
    });

    it(`${file} holds a fragmented datagram whose whole checksum is complete`, () => {
      const fragments = innerPackets(file).filter(
        (packet) => packet.moreFragments || packet.fragmentOffset > 0,
      );
      assert.deepEqual(
        fragments.map((packet) => [packet.fragmentOffset, packet.moreFragments]),
        [
          [0, true],
          [1424, true],
          [2848, false],
        ],
      );
      const payload = Buffer.concat(fragments.map((packet) => packet.payload));
      assert.equal(payload.readUInt16BE(UDP_LENGTH_OFFSET), 8 + 3001);
      assert.equal(taken(decodeUdp(payload)).payload.length, 3001);
      assert.equal(checksumState({ ...fragments[0]!, payload }, UDP_CHECKSUM_OFFSET), 'complete'); // !: three, above
    });
  }

  for (const file of ['vxlan-tcp.json', 'vxlan-tcp-partial.json'] as const) {
    it(`${file} holds a handshake with its options, data and an end on both sides`, () => {
      const packets = innerPackets(file);
      const segments = packets.map((packet) => taken(decodeTcp(packet.payload)));
      assert.equal(segments[0]?.flags, TCP_FLAG_SYN);
      assert.equal(segments[1]?.flags, TCP_FLAG_SYN | TCP_FLAG_ACK);
      const mss = taken(decodeTcpOptions(segments[0].options)).find(
        ({ kind }) => kind === TCP_OPTION_MAXIMUM_SEGMENT_SIZE,
      );
      assert.deepEqual([...(mss?.data ?? [])], [1410 >> 8, 1410 & 0xff]);
      const fromLeft = segments.filter((_, at) => packets[at]?.source === parseIpv4(LEFT.address));
      const sent = fromLeft.reduce((bytes, { payload }) => bytes + payload.length, 0);
      assert.equal(sent, 'odd'.length + 2501);
      assert.equal(segments.filter(({ flags }) => (flags & TCP_FLAG_FIN) !== 0).length, 2);
      const expected = file === 'vxlan-tcp.json' ? 'complete' : 'partial';
      for (const packet of packets) assert.equal(checksumState(packet, TCP_CHECKSUM_OFFSET), expected);
    });
  }

  it('vxlan-tcp-partial.json holds a frame larger than the MTU: segmentation was left to a device', () => {
    assert.ok(readVectors('vxlan-tcp-partial.json').some((frame) => frame.length > 1514));
    assert.ok(readVectors('vxlan-tcp.json').every((frame) => frame.length <= 1514));
  });

  it('transportChecksum completes a partial inner checksum: the outer one, computed by the kernel for that, then holds', () => {
    let compared = 0;
    for (const [file, checksumOffset] of [
      ['vxlan-tcp-partial.json', TCP_CHECKSUM_OFFSET],
      ['vxlan-udp-partial.json', UDP_CHECKSUM_OFFSET],
    ] as const) {
      for (const frame of readVectors(file)) {
        const { outer, inner } = layersOf(frame);
        if (checksumState(outer, UDP_CHECKSUM_OFFSET) !== 'wrong') continue; // left to a device as well
        const packet = taken(decodeIpv4Packet(inner.payload));
        const pseudoHeader = { ...packet, transportBytes: packet.payload.length };
        const word = transportChecksum({ pseudoHeader, segment: packet.payload, checksumOffset });
        storeWord(packet.payload, checksumOffset, word);
        assert.equal(checksumState(packet, checksumOffset), 'complete');
        assert.equal(checksumState(outer, UDP_CHECKSUM_OFFSET), 'complete');
        compared += 1;
      }
    }
    assert.equal(compared, 11 + 5);
  });
});
