// What control publishes to the data plane, over real files.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { createForwardingPublisher } from '../../agent/control/node/forwarding.ts';
import { ipv4, mac, vni } from '../../proto/address.ts';
import { decodeForwardingTable } from '../../proto/forwarding-codec.ts';

const TABLE = {
  range: { base: ipv4(0x0a200000), prefixLength: 18 },
  blockPrefixLength: 26,
  vni: vni(7),
  vtepMac: mac(0x0a0000000001),
  gateway: ipv4(0x0a200001),
  peers: [],
  owners: new Uint16Array(256),
};

test('a table that could not be written is written the next time, and only what changed is', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'weft-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'forwarding-table');
  const publisher = createForwardingPublisher({ path, channelFds: [] });
  mkdirSync(`${path}.new`);
  assert.throws(() => publisher.publish(TABLE), { code: 'EISDIR' });
  rmdirSync(`${path}.new`);
  assert.deepEqual(publisher.publish(TABLE), { generation: 1, changed: true });
  assert.deepEqual(publisher.publish(TABLE), { generation: 1, changed: false });
  const written = decodeForwardingTable(readFileSync(path));
  assert.ok(written.ok);
  assert.equal(written.value.generation, 1);
  const successor = createForwardingPublisher({ path, channelFds: [] });
  assert.deepEqual(successor.publish(TABLE), { generation: 1, changed: false });
  assert.deepEqual(successor.publish({ ...TABLE, vni: vni(8) }), { generation: 2, changed: true });
});
