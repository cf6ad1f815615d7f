// What the kernel tells of a node's network, on a real kernel: each change by hand is a disturbance, the agent's own are none, and what was
// lost is one.
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';

import type { Disturbance } from '../../agent/control/node/network-events.ts';
import { type NetworkWatch, openNetworkWatch } from '../../agent/control/node/network-watch.ts';
import { systemClock } from '../../agent/kube/clock.ts';
import { openReadiness, type Readiness } from '../../agent/linux/readiness.ts';
import { until } from '../lab/condition.ts';
import { openFurnishedNode } from './furnished-node.ts';
import { run } from './network-namespaces.ts';
import { type AttachedPod, attachPod, DESIRED } from './node-fixture.ts';

const { network, links } = openFurnishedNode();
let readiness: Readiness;
let watch: NetworkWatch;
let disturbances: Disturbance[] = [];

before(() => {
  readiness = openReadiness();
});
after(() => readiness.close());

const open = (queueBytes?: number): void => {
  watch = openNetworkWatch({
    readiness,
    clock: systemClock,
    expected: () => network.expected(),
    disturbed: (disturbance) => disturbances.push(disturbance),
    ...(queueBytes === undefined ? {} : { queueBytes }),
  });
};
const disturbed = (what: string): Promise<void> =>
  until(() => disturbances.length > 0, { what: `a disturbance by ${what}` });
/** What is in the sockets is read: the kernel tells in order. */
const calm = async (): Promise<void> => {
  disturbances = [];
  run('ip route add 10.46.0.0/26 dev weave proto 87');
  await disturbed('the route that marks the end');
  run('ip route del 10.46.0.0/26 dev weave');
  await network.ensure(DESIRED);
};

describe('openNetworkWatch', () => {
  let pod: AttachedPod;

  beforeEach(async () => {
    pod = attachPod(links, '10.32.0.12');
    await network.ensure(DESIRED);
    open();
    disturbances = [];
  });
  afterEach(async () => {
    watch.close();
    links.detach(pod.request.hostInterface);
    pod.close();
    await network.ensure(DESIRED);
  });

  const changes = [
    ['ip route del 10.32.0.0/12 dev weft0', false],
    ['ip addr del 10.32.0.1/32 dev weave', false],
    ['ip addr add 10.33.0.1/24 dev eth0; ip addr del 10.33.0.1/24 dev eth0', false],
    ['ip link set weave down; ip link set weave up', false],
    ['ip link del weave', false],
    ['ip link set weft0 mtu 1300', false],
    ['ip link set weave type bridge stp_state 1', false],
    ['ip link set PORT nomaster', false],
    ['ip link set PORT down', false],
    ["ip link set PORT alias ''", false],
    ['ip link set PORT name lost0', false],
    ['ip link set PORT mtu 900', false],
    ['bridge link set dev PORT isolated on', false],
    ['bridge link set dev PORT learning off', false],
    ['echo 0 >/proc/sys/net/ipv4/conf/eth0/forwarding', false],
    ['echo 1 >/proc/sys/net/ipv4/conf/weft0/rp_filter', false],
    ['nft flush set bridge weft pods', true],
    // All that tells whose port it is, at once.
    [
      "ip link set PORT alias '' mtu 900 address 0e:00:00:00:00:07 name lost0; nft flush set bridge weft pods",
      true,
    ],
    ['nft delete element inet weft peers { 172.31.0.12 }', true],
    ['nft flush chain inet weft input', true],
    ['nft delete table bridge weft', true],
    ['nft flush ruleset', true],
  ] as const;
  for (const [command, rules] of changes) {
    it(`tells of "${command}", and what is put back is as before`, async () => {
      run(command.replace('PORT', pod.request.hostInterface));
      await until(() => disturbances.some((found) => found.rules === rules), {
        what: `a disturbance by ${command}`,
      });
      const known = [
        {
          containerId: pod.request.alias.split(':')[1] ?? '',
          interfaceName: 'eth0',
          hostInterface: pod.request.hostInterface,
          address: pod.request.address,
        },
      ];
      await network.ensure(DESIRED, { known });
      assert.deepEqual(links.inspect(pod.request), []);
      assert.deepEqual(await network.ensure(DESIRED), []);
    });
  }

  it('names the program that changed nftables', async () => {
    run('nft flush chain inet weft input');
    await disturbed('nft');
    assert.equal(disturbances.at(-1)?.author?.program, 'nft');
  });

  it('says nothing of attachments, of other interfaces, routes and tables, nor of what it does itself', async () => {
    await calm();
    disturbances = [];
    const stays = attachPod(links, '10.32.0.16');
    for (const address of ['10.32.0.13', '10.32.0.14', '10.32.0.15']) {
      const other = attachPod(links, address);
      links.detach(other.request.hostInterface);
      other.close();
    }
    run(
      'ip link add other0 type veth peer name other1; ip link set other0 up; ip addr add 192.0.2.1/24 dev other0',
    );
    run('ip route add 198.51.100.0/24 dev other0; ip link del other0');
    run("nft 'add table inet other; add chain inet other c; delete table inet other'");
    // The kernel tells in order: what comes before the mark has been read when the mark has.
    run('nft add rule inet weft input accept');
    await until(() => disturbances.some(({ rules }) => rules), { what: 'the rule that marks the end' });
    run('ip addr add 192.0.2.7/24 dev weave');
    await until(() => disturbances.some(({ rules }) => !rules), { what: 'the address that marks the end' });
    assert.equal(disturbances.length, 2);
    links.detach(stays.request.hostInterface);
    stays.close();
  });
});

it('takes what did not fit into its queue for a disturbance', async () => {
  open(1);
  disturbances = [];
  // Of others only: read one by one they would be none.
  run(`for at in $(seq 8); do ip link add other0 type veth peer name other1; ip link del other0; done`);
  await disturbed('lost notifications');
  assert.equal(disturbances[0]?.rules, true);
  watch.close();
});
