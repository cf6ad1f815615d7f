// Super-packets of pods fill one datagram each, whatever the MTU.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { superPacketBytes } from '../../agent/control/node/super-packet.ts';

test('superPacketBytes: the segments of the largest super-packet fit into one datagram, and one more would not', () => {
  for (const mtu of [1280, 1350, 1400, 1450, 1500, 3950, 8950, 9150]) {
    const segmentBytes = mtu - 52;
    // What Linux TCP makes of it: whole segments within the limit less its reserve of 321 bytes or a little more.
    const segments = Math.floor((superPacketBytes(mtu) - 321) / segmentBytes);
    const datagramBytes = segments * (mtu + 22);
    assert.ok(datagramBytes <= 65_507, `MTU ${mtu}: ${datagramBytes} B`);
    assert.ok(datagramBytes + mtu + 22 > 65_507, `MTU ${mtu}: room for one more`);
  }
  assert.equal(superPacketBytes(576), 65_536);
});
