// Each codec by hand: what its fields mean, what it refuses and why, what its emission refuses as our own bug. Whole frames from the kernel
// are in vxlan-vectors.test.ts, random ones in test/fuzz.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { parseIpv4, parseMac } from '../../proto/address-text.ts';
import { vni } from '../../proto/address.ts';
import { complement, storeWord, sumWords } from '../../proto/checksum.ts';
import type { Decoded } from '../../proto/decoded.ts';
import { decodeEthernet, encodeEthernetInto } from '../../proto/ethernet.ts';
import { type IcmpMessage, decodeIcmp, encodeIcmpInto, isIcmpErrorType } from '../../proto/icmp.ts';
import {
  type Ipv4Packet,
  decodeIpv4Header,
  decodeIpv4Packet,
  encodeIpv4HeaderInto,
  encodeIpv4PacketInto,
} from '../../proto/ipv4-packet.ts';
import { decodeTcp, decodeTcpOptions, encodeTcpInto } from '../../proto/tcp.ts';
import { decodeUdp, encodeUdpInto } from '../../proto/udp.ts';
import {
  VIRTIO_NET_HDR_BYTES,
  VIRTIO_NET_HDR_GSO_TCPV4,
  decodeVirtioNetHeader,
  encodeVirtioNetHeaderInto,
} from '../../proto/virtio-net.ts';
import { decodeVxlan, encodeVxlanInto } from '../../proto/vxlan.ts';
import { placed } from '../support/random.ts';
import { emitted } from '../vectors/reencode.ts';

const bytesOf = (hex: string): Uint8Array =>
  placed(new Uint8Array(Buffer.from(hex.replaceAll(' ', ''), 'hex'))).view;
const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const none = new Uint8Array();

function taken<T>(result: Decoded<T>): T {
  assert.ok(result.ok, result.ok ? '' : result.reason);
  return result.value;
}

const reasonOf = (result: Decoded<unknown>): string => (result.ok ? 'taken' : result.reason);

/** The input with bytes put in place of its own from `offset` on. */
function changed(bytes: Uint8Array, offset: number, ...values: readonly number[]): Uint8Array {
  const { view } = placed(bytes);
  view.set(values, offset);
  return view;
}

describe('decodeEthernet', () => {
  const bytes = bytesOf('0e0000000002 0e0000000001 0800 4500');

  it('reads both addresses, the type and the payload, and is the inverse of encodeEthernetInto', () => {
    const frame = taken(decodeEthernet(bytes));
    assert.equal(frame.destination, parseMac('0e:00:00:00:00:02'));
    assert.equal(frame.source, parseMac('0e:00:00:00:00:01'));
    assert.equal(frame.etherType, 0x0800);
    assert.equal(hexOf(frame.payload), '4500');
    assert.equal(hexOf(emitted(16, (...to) => encodeEthernetInto(...to, frame))), hexOf(bytes));
  });

  it('keeps all 48 bits of an address', () => {
    const frame = taken(decodeEthernet(bytesOf('fedcba987654 123456789abc 88b5')));
    assert.equal(frame.destination, 0xfedcba987654);
    assert.equal(frame.source, 0x123456789abc);
    assert.equal(
      hexOf(emitted(14, (...to) => encodeEthernetInto(...to, frame))),
      'fedcba987654123456789abc88b5',
    );
  });

  it('refuses a frame shorter than its header', () => {
    for (let length = 0; length < 14; length += 1)
      assert.equal(reasonOf(decodeEthernet(bytes.subarray(0, length))), 'truncated');
  });
});

describe('decodeIpv4Packet', () => {
  // The header of many textbooks with 33 bytes instead of 115, so its checksum is b861 + 0073 - 0021.
  const bytes = bytesOf('4500 0021 0000 4000 4011 b8b3 c0a80001 c0a800c7 0102030405060708090a0b0c0d');
  const packet: Ipv4Packet = {
    typeOfService: 0,
    identification: 0,
    reservedFlag: false,
    dontFragment: true,
    moreFragments: false,
    fragmentOffset: 0,
    timeToLive: 64,
    protocol: 17,
    source: parseIpv4('192.168.0.1'),
    destination: parseIpv4('192.168.0.199'),
    options: none,
    payload: bytes.subarray(20),
  };

  it('reads every field, and is the inverse of encodeIpv4PacketInto', () => {
    assert.deepEqual(taken(decodeIpv4Packet(bytes)), packet);
    assert.equal(hexOf(emitted(33, (...to) => encodeIpv4PacketInto(...to, packet))), hexOf(bytes));
  });

  it('leaves out what follows the total length', () => {
    const padded = new Uint8Array([...bytes, 0, 0, 0]);
    assert.deepEqual(taken(decodeIpv4Packet(padded)), packet);
  });

  it('reads flags, fragment offset and options', () => {
    const fragment: Ipv4Packet = {
      ...packet,
      reservedFlag: true,
      dontFragment: false,
      moreFragments: true,
      fragmentOffset: 65_528,
      options: bytesOf('94040000'),
    };
    const again = emitted(37, (...to) => encodeIpv4PacketInto(...to, fragment));
    assert.equal(hexOf(again.subarray(6, 8)), 'bfff');
    assert.deepEqual(taken(decodeIpv4Packet(again)), fragment);
  });

  it('refuses by reason', () => {
    assert.equal(reasonOf(decodeIpv4Packet(bytes.subarray(0, 19))), 'truncated');
    assert.equal(reasonOf(decodeIpv4Packet(changed(bytes, 0, 0x65))), 'version');
    assert.equal(reasonOf(decodeIpv4Packet(changed(bytes, 0, 0x44))), 'header_length');
    assert.equal(reasonOf(decodeIpv4Packet(changed(bytes, 0, 0x4f))), 'truncated');
    assert.equal(reasonOf(decodeIpv4Packet(changed(bytes, 2, 0, 19))), 'total_length');
    assert.equal(reasonOf(decodeIpv4Packet(changed(bytes, 8, 63))), 'header_checksum');
    assert.equal(reasonOf(decodeIpv4Packet(bytes.subarray(0, 32))), 'total_length');
    const withOptions = emitted(37, (...to) =>
      encodeIpv4PacketInto(...to, { ...packet, options: bytesOf('94040000') }),
    );
    assert.equal(reasonOf(decodeIpv4Packet(changed(withOptions, 2, 0, 23))), 'total_length');
    assert.equal(reasonOf(decodeIpv4Header(withOptions.subarray(0, 23))), 'truncated');
  });

  it('decodeIpv4Header takes a header whose packet was cut off', () => {
    assert.equal(taken(decodeIpv4Header(bytes.subarray(0, 20))).totalLength, 33);
  });

  it('takes a checksum of ffff for 0000 (RFC 1624 section 3) and emits 0000', () => {
    const zero = { ...packet, identification: 0xb8b3 };
    const again = emitted(33, (...to) => encodeIpv4PacketInto(...to, zero));
    assert.equal(hexOf(again.subarray(10, 12)), '0000');
    assert.deepEqual(taken(decodeIpv4Packet(changed(again, 10, 0xff, 0xff))), zero);
  });

  it('encodeIpv4HeaderInto takes impossible values for our own bug', () => {
    const header = { ...packet, totalLength: 33 };
    const target = new Uint8Array(100);
    for (const wrong of [
      { options: new Uint8Array(3) },
      { options: new Uint8Array(44), totalLength: 64 },
      { totalLength: 19 },
      { totalLength: 65_536 },
      { fragmentOffset: 4 },
      { fragmentOffset: 65_536 },
    ]) {
      assert.throws(() => encodeIpv4HeaderInto(target, 0, { ...header, ...wrong }), /invariant broken/);
    }
  });
});

describe('decodeUdp', () => {
  const bytes = bytesOf('c000 1a80 000b 1234 010203');

  it('reads every field, and is the inverse of encodeUdpInto', () => {
    const datagram = taken(decodeUdp(bytes));
    const payload = bytes.subarray(8);
    assert.deepEqual(datagram, { sourcePort: 0xc000, destinationPort: 6784, checksum: 0x1234, payload });
    assert.equal(hexOf(emitted(11, (...to) => encodeUdpInto(...to, datagram))), hexOf(bytes));
  });

  it('leaves out the surplus after its length (RFC 9868)', () => {
    assert.equal(taken(decodeUdp(changed(bytes, 4, 0, 9))).payload.length, 1);
  });

  it('refuses by reason', () => {
    assert.equal(reasonOf(decodeUdp(bytes.subarray(0, 7))), 'truncated');
    assert.equal(reasonOf(decodeUdp(changed(bytes, 4, 0, 7))), 'length');
    assert.equal(reasonOf(decodeUdp(changed(bytes, 4, 0, 12))), 'length');
  });
});

describe('decodeTcp', () => {
  const options = '020405b4 01 030307 00000000'.replaceAll(' ', '');
  const bytes = bytesOf(`c000 0050 01020304 05060708 8f12 fffe abcd 0102 ${options} 55`);

  it('reads every field, and is the inverse of encodeTcpInto', () => {
    const segment = taken(decodeTcp(bytes));
    assert.deepEqual(segment, {
      sourcePort: 0xc000,
      destinationPort: 80,
      sequence: 0x01020304,
      acknowledgment: 0x05060708,
      flags: 0xf12,
      window: 0xfffe,
      checksum: 0xabcd,
      urgentPointer: 0x0102,
      options: bytesOf(options),
      payload: Uint8Array.of(0x55),
    });
    assert.equal(hexOf(emitted(33, (...to) => encodeTcpInto(...to, segment))), hexOf(bytes));
  });

  it('refuses by reason', () => {
    assert.equal(reasonOf(decodeTcp(bytes.subarray(0, 19))), 'truncated');
    assert.equal(reasonOf(decodeTcp(changed(bytes, 12, 0x40))), 'data_offset');
    assert.equal(reasonOf(decodeTcp(changed(bytes, 12, 0x90))), 'truncated');
    assert.equal(reasonOf(decodeTcp(bytes.subarray(0, 31))), 'truncated');
    assert.equal(reasonOf(decodeTcp(bytes.subarray(0, 32))), 'taken');
  });

  it('encodeTcpInto takes impossible options for our own bug', () => {
    const segment = taken(decodeTcp(bytes));
    for (const length of [3, 44])
      assert.throws(
        () => encodeTcpInto(new Uint8Array(100), 0, { ...segment, options: new Uint8Array(length) }),
        /invariant broken/,
      );
  });

  it('decodeTcpOptions walks to the end of the list', () => {
    const walked = taken(decodeTcpOptions(bytesOf(options))).map(({ kind, data }) => [kind, hexOf(data)]);
    assert.deepEqual(walked, [
      [2, '05b4'],
      [1, ''],
      [3, '07'],
    ]);
    assert.deepEqual(taken(decodeTcpOptions(none)), []);
  });

  it('decodeTcpOptions refuses a length that is missing, below 2 or beyond the header', () => {
    for (const hex of ['02', '0200', '0201', '0205 05b4', '01 08'])
      assert.equal(reasonOf(decodeTcpOptions(bytesOf(hex))), 'option_length');
  });
});

describe('decodeIcmp', () => {
  const withChecksum = (hex: string): Uint8Array => {
    const bytes = bytesOf(hex);
    storeWord(bytes, 2, complement(sumWords(bytes, 0, bytes.length)));
    return bytes;
  };
  const messages: readonly [string, IcmpMessage][] = [
    [
      '0800 0000 1234 0001 aabbcc',
      { kind: 'echo_request', identifier: 0x1234, sequence: 1, data: bytesOf('aabbcc') },
    ],
    ['0000 0000 1234 0001', { kind: 'echo_reply', identifier: 0x1234, sequence: 1, data: none }],
    [
      '0304 0000 0000 05aa 4500',
      { kind: 'unreachable', code: 4, nextHopMtu: 1450, quotedWords: 0, quoted: bytesOf('4500') },
    ],
    [
      '0301 0000 0020 0000 4500',
      { kind: 'unreachable', code: 1, nextHopMtu: 0, quotedWords: 32, quoted: bytesOf('4500') },
    ],
    [
      '0b00 0000 80000001 4500',
      { kind: 'other', type: 11, code: 0, rest: 0x8000_0001, data: bytesOf('4500') },
    ],
  ];

  it('reads each kind, and is the inverse of encodeIcmpInto', () => {
    for (const [hex, message] of messages) {
      const bytes = withChecksum(hex);
      assert.deepEqual(taken(decodeIcmp(bytes)), message);
      assert.equal(hexOf(emitted(bytes.length, (...to) => encodeIcmpInto(...to, message))), hexOf(bytes));
    }
  });

  it('refuses by reason', () => {
    const echo = withChecksum('0800 0000 1234 0001 aa');
    assert.equal(reasonOf(decodeIcmp(echo.subarray(0, 7))), 'truncated');
    assert.equal(reasonOf(decodeIcmp(changed(echo, 8, 0xab))), 'checksum');
    assert.equal(reasonOf(decodeIcmp(withChecksum('0801 0000 1234 0001'))), 'echo_code');
    assert.equal(reasonOf(decodeIcmp(withChecksum('0301 0000 0100 0000'))), 'unused_bits');
  });

  it('isIcmpErrorType is true for what no error may answer', () => {
    const errors = Array.from({ length: 256 }, (_, type) => type).filter((type) => isIcmpErrorType(type));
    assert.deepEqual(errors, [3, 4, 5, 11, 12]);
  });
});

describe('decodeVxlan', () => {
  const bytes = bytesOf('08000000 abcdef00 0e00');

  it('reads the network identifier and the frame, and is the inverse of encodeVxlanInto', () => {
    const frame = taken(decodeVxlan(bytes));
    assert.deepEqual(frame, { vni: vni(0xabcdef), frame: bytes.subarray(8) });
    assert.equal(hexOf(emitted(10, (...to) => encodeVxlanInto(...to, frame))), hexOf(bytes));
  });

  it('refuses a header that is cut, without the I flag, or with any reserved bit set', () => {
    for (let length = 0; length < 8; length += 1)
      assert.equal(reasonOf(decodeVxlan(bytes.subarray(0, length))), 'truncated');
    for (let bit = 0; bit < 64; bit += 1) {
      const flipped = changed(bytes, bit >> 3, bytes[bit >> 3]! ^ (0x80 >> (bit & 7)));
      const inIdentifier = bit >= 32 && bit < 56;
      assert.equal(reasonOf(decodeVxlan(flipped)), inIdentifier ? 'taken' : 'flags', `bit ${bit}`);
    }
  });
});

describe('decodeVirtioNetHeader', () => {
  const bytes = bytesOf('01 81 3600 7805 2200 1000');

  it('reads every field in little-endian, and is the inverse of encodeVirtioNetHeaderInto', () => {
    const header = taken(decodeVirtioNetHeader(bytes));
    assert.deepEqual(header, {
      needsChecksum: true,
      dataValid: false,
      segmentation: VIRTIO_NET_HDR_GSO_TCPV4,
      ecn: true,
      headerLength: 54,
      gsoSize: 1400,
      checksumStart: 34,
      checksumOffset: 16,
    });
    const again = emitted(VIRTIO_NET_HDR_BYTES, (...to) => encodeVirtioNetHeaderInto(...to, header));
    assert.equal(hexOf(again), hexOf(bytes));
  });

  it('takes and emits again every known flag and type, and refuses the others by reason', () => {
    const inputs = Array.from({ length: 256 }, (_, value) => [
      changed(bytes, 0, value),
      changed(bytes, 1, value),
    ]).flat();
    for (const input of inputs) {
      const result = decodeVirtioNetHeader(input);
      const knownFlags = input[0]! < 4; // !: ten bytes
      const knownType = [0, 1, 3, 4, 5].includes(input[1]! & 0x7f); // !: ten bytes
      const verdict = knownType ? 'taken' : 'gso_type';
      assert.equal(reasonOf(result), knownFlags ? verdict : 'flags');
      if (!result.ok) continue;
      const again = emitted(VIRTIO_NET_HDR_BYTES, (...to) => encodeVirtioNetHeaderInto(...to, result.value));
      assert.equal(hexOf(again), hexOf(input));
    }
    assert.equal(reasonOf(decodeVirtioNetHeader(bytes.subarray(0, 9))), 'truncated');
  });
});
