// When the log tells of a path's MTU, and when the node's own says it all.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createPathMtuLog } from '../../agent/control/status/path-mtu-log.ts';

function stand(): (mtu: number, paths: Readonly<Record<string, number | undefined>>) => string[] {
  const told: string[] = [];
  const tell = (event: string, _message: string, fields: object = {}): void =>
    void told.push([event, ...Object.values(fields)].join(' '));
  const pathMtuLog = createPathMtuLog({ info: tell, warn: tell });
  return (mtu, paths) => {
    const connections = Object.entries(paths).map(([name, pathMtu]) => ({ name, pathMtu }));
    pathMtuLog.tell(connections, mtu);
    return told.splice(0);
  };
}

test('createPathMtuLog: each change once, by the name of the peer', () => {
  const look = stand();
  assert.deepEqual(look(1450, { a: 1450, b: undefined }), []);
  assert.deepEqual(look(1450, { a: 1350, b: 1450 }), ['path_mtu_lowered a 1350 1450']);
  assert.deepEqual(look(1450, { a: 1350, b: 1450 }), []);
  assert.deepEqual(look(1450, { a: 1300, b: 1450 }), ['path_mtu_lowered a 1300 1350']);
  assert.deepEqual(look(1450, { a: 1400, b: 1450 }), ['path_mtu_raised a 1400 1300']);
  assert.deepEqual(look(1450, { a: 1450, b: 1450 }), ['path_mtu_raised a 1450 1400']);
});

test('createPathMtuLog: a path that is low when it is first seen is told', () => {
  assert.deepEqual(stand()(1450, { a: 1350 }), ['path_mtu_lowered a 1350 1450']);
});

test("createPathMtuLog: what follows the node's own MTU is not told for every peer", () => {
  const look = stand();
  assert.deepEqual(look(1450, { a: 1450, b: 1350 }), ['path_mtu_lowered b 1350 1450']);
  assert.deepEqual(look(1250, { a: 1450, b: 1350 }), [], 'control knows first');
  assert.deepEqual(look(1250, { a: 1250, b: 1250 }), []);
  assert.deepEqual(look(8950, { a: 1250, b: 1250 }), []);
  assert.deepEqual(look(8950, { a: 8950, b: 1250 }), []);
});

test('createPathMtuLog: a peer that left and came back is told anew', () => {
  const look = stand();
  look(1450, { a: 1350 });
  assert.deepEqual(look(1450, {}), []);
  assert.deepEqual(look(1450, { a: 1350 }), ['path_mtu_lowered a 1350 1450']);
});
