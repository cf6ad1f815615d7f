// Reading one attribute of a netlink message, also as what it is not.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { decodeAttributes, encodeMessage, MESSAGE_HEADER_BYTES, raw, u8 } from '../../proto/netlink.ts';

test('an attribute shorter than what is asked for reads as missing', () => {
  const bytes = encodeMessage({
    type: 1,
    flags: 0,
    header: new Uint8Array(0),
    attributes: [u8(1, 5), raw(2, new Uint8Array(0))],
  });
  const decoded = decodeAttributes(bytes.subarray(MESSAGE_HEADER_BYTES));
  assert.ok(decoded.ok);
  const attributes = decoded.value;
  assert.deepEqual(
    [
      attributes.u8(1),
      attributes.u32(1),
      attributes.u32be(1),
      attributes.u8(2),
      attributes.text(2),
      attributes.text(3),
    ],
    [5, undefined, undefined, undefined, '', undefined],
  );
});
