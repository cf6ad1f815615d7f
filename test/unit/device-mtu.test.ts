// The MTU inside pods from the underlay's, at the start and while the agent runs.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createDeviceMtu } from '../../agent/control/node/device-mtu.ts';
import { type Underlay, largestPodMtu, podMtu } from '../../agent/preflight.ts';

const ethernet = (mtu: number): Underlay => ({ name: 'eth0', mtu, family: 'ipv4' });

test('podMtu: the underlay less the encapsulation, unless less is set; more is refused', () => {
  assert.equal(podMtu({ mtu: undefined }, ethernet(1500)), 1450);
  assert.equal(podMtu({ mtu: undefined }, ethernet(9000)), 8950);
  assert.equal(podMtu({ mtu: 1376 }, ethernet(1500)), 1376);
  assert.throws(() => podMtu({ mtu: 1451 }, ethernet(1500)), { code: 'SETTING_INVALID' });
  assert.equal(largestPodMtu({ ...ethernet(1500), family: 'ipv6' }), 1430);
});

function stand(setting: number | undefined): {
  /** The MTU of the pods when the underlay's is this. */
  readonly follow: (underlay: number) => number;
  readonly takeTold: () => string[];
} {
  let underlay = 1500;
  const told: string[] = [];
  const device = createDeviceMtu({
    setting,
    mtu: podMtu({ mtu: setting }, ethernet(underlay)),
    underlay: () => ethernet(underlay),
    log: { warn: (event, message) => void told.push(`${event}: ${message}`) },
  });
  return {
    follow(next) {
      underlay = next;
      const found = device.look();
      assert.equal(device.current(), found);
      return found;
    },
    takeTold: () => told.splice(0),
  };
}

test('createDeviceMtu: follows the underlay up and down, and says so once', () => {
  const { follow, takeTold } = stand(undefined);
  assert.equal(follow(1500), 1450);
  assert.deepEqual(takeTold(), []);
  assert.equal(follow(1400), 1350);
  assert.equal(follow(1400), 1350);
  assert.match(
    takeTold().join(),
    /^mtu_changed: Interface "eth0" has an MTU of 1400 now: the pod network's is 1350, after 1450\.[^,]*$/,
  );
  assert.equal(follow(9000), 8950);
  assert.equal(follow(100), 576, 'what every IPv4 host takes');
  assert.equal(takeTold().length, 2);
});

test('createDeviceMtu: what is set holds as long as the underlay carries it', () => {
  const { follow, takeTold } = stand(1376);
  assert.equal(follow(9000), 1376);
  assert.deepEqual(takeTold(), []);
  assert.equal(follow(1400), 1350);
  assert.equal(follow(1500), 1376);
  assert.equal(takeTold().length, 2);
});
