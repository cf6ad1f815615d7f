import assert from 'node:assert/strict';
import { test } from 'node:test';

import { RivalMachine } from '../../agent/control/cluster/rival-machine.ts';
import { peer } from './kube-fakes.ts';

const [OWN, OTHER] = ['a'.repeat(32), 'b'.repeat(32)];

test('another machine of the same node name: said once, as long as it writes the Peer; a machine that was replaced is none', () => {
  const time = { now: 0 };
  const said: string[] = [];
  const rival = new RivalMachine({
    nodeName: 'n1',
    stateId: OWN,
    clock: { now: () => time.now },
    log: { warn: (_event, message) => void said.push(message) },
  });
  const see = (stateId: string | undefined): void => {
    const spec = { addresses: ['192.168.1.9'], ...(stateId === undefined ? {} : { stateId }) };
    rival.look({ peers: new Map([['n1', peer('n1', spec)]]) });
  };
  see(OTHER);
  assert.equal(rival.trouble(), undefined, 'of the machine before this one');
  see(OWN);
  see(undefined);
  assert.equal(rival.trouble(), undefined, 'an agent of an older version');
  see(OTHER);
  assert.equal(rival.trouble()?.code, 'NODE_NAME_TWICE');
  assert.match(rival.trouble()?.message ?? '', /Another machine \(192\.168\.1\.9\) has the node name "n1"/);
  time.now += 60_000;
  see(OWN);
  see(OTHER);
  assert.equal(said.length, 1);
  time.now += 121_000;
  assert.equal(rival.trouble(), undefined);
});
