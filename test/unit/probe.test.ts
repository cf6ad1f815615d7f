import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { parseMac } from '../../proto/address-text.ts';
import { ETHERTYPE_PROBE, decodeEthernet, encodeEthernetInto } from '../../proto/ethernet.ts';
import {
  PROBE_BYTES,
  PROBE_REPLY,
  PROBE_REQUEST,
  type Probe,
  answerProbeInPlace,
  decodeProbe,
} from '../../proto/probe.ts';
import { placed, surroundingsIntact } from '../support/random.ts';
import { reencodeProbe } from '../vectors/reencode.ts';

const request: Probe = {
  kind: PROBE_REQUEST,
  requestBytes: 0,
  sequence: 0x8000_0001,
  timeHigh: 0xffff_ffff,
  timeLow: 0x0102_0304,
  padding: Uint8Array.of(1, 2, 3),
};
const bytes = new Uint8Array(Buffer.from('575052420101000080000001ffffffff01020304010203', 'hex'));

describe('decodeProbe', () => {
  it('reads every field, and is the inverse of encodeProbeInto', () => {
    assert.deepEqual(decodeProbe(placed(bytes).view), { ok: true, value: request });
    assert.deepEqual(reencodeProbe(placed(bytes).view), { ok: true, value: bytes });
  });

  it('refuses every truncation of its fixed part', () => {
    for (let length = 0; length < PROBE_BYTES; length += 1)
      assert.deepEqual(decodeProbe(bytes.subarray(0, length)), { ok: false, reason: 'truncated' });
  });

  it('refuses or emits again every single-bit flip, by the field that it hits', () => {
    for (let bit = 0; bit < bytes.length * 8; bit += 1) {
      const { view } = placed(bytes);
      view[bit >> 3]! ^= 0x80 >> (bit & 7);
      const result = reencodeProbe(view);
      const field = ['magic', 'magic', 'magic', 'magic', 'version', 'kind', 'request_bytes', 'request_bytes'][
        bit >> 3
      ];
      assert.deepEqual(
        result,
        field === undefined ? { ok: true, value: view } : { ok: false, reason: `probe: ${field}` },
      );
    }
  });
});

describe('answerProbeInPlace', () => {
  it('swaps the addresses, makes a reply of it and tells how long a padded request was', () => {
    for (const [arrived, told] of [
      [PROBE_BYTES, 0],
      [PROBE_BYTES + 1, PROBE_BYTES + 1],
      [1450, 1450],
      [65_485, 65_485],
    ] as const) {
      assertAnswer(arrived, told);
    }
  });

  function assertAnswer(arrived: number, told: number): void {
    const destination = parseMac('0e:00:00:00:00:02');
    const source = parseMac('0e:00:00:00:00:01');
    const frame = new Uint8Array(14 + bytes.length);
    encodeEthernetInto(frame, 0, { destination, source, etherType: ETHERTYPE_PROBE, payload: bytes });
    const place = placed(frame);
    answerProbeInPlace(place.buffer, place.offset, arrived);
    assert.ok(surroundingsIntact(place));
    const answer = decodeEthernet(place.view);
    assert.ok(answer.ok);
    assert.equal(answer.value.destination, source);
    assert.equal(answer.value.source, destination);
    assert.deepEqual(decodeProbe(answer.value.payload), {
      ok: true,
      value: { ...request, kind: PROBE_REPLY, requestBytes: told },
    });
  }
});
