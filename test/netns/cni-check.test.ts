// CNI 1.1.0, CHECK and GC (section 2): one named test per requirement on a plugin, through the executed shim, against a real agent on a
// real kernel. docs/cni-conformance.md lists them.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { condition, until } from '../lab/condition.ts';
import { type CniAnswer, type CniPrinted, type Container, VERSIONS } from '../lab/cni-runtime.ts';
import { enterEnclosure } from '../lab/enclosure.ts';
import { openCniNode } from './cni-node.ts';

await enterEnclosure();

interface Attached {
  readonly of: Container;
  readonly prevResult: CniPrinted;
}

const { node, runtime } = await openCniNode();
let containers = 0;

const add = async (of: Container, config: object = {}): Promise<CniPrinted> => {
  const { status, stdout, json } = await runtime.call('ADD', { of, config });
  assert.equal(status, 0, stdout);
  return json;
};

async function withAttached(work: (attached: Attached) => Promise<void>, config: object = {}): Promise<void> {
  const of = await runtime.container(`c${(containers += 1)}`);
  await work({ of, prevResult: await add(of, config) });
  assert.equal((await runtime.call('DEL', { of })).status, 0);
  await of.remove();
}

const check = ({ of, prevResult }: Attached, more: object = {}): Promise<CniAnswer> =>
  runtime.call('CHECK', { of, config: { prevResult, ...more } });

/** The words of the damage: PORT is the host's interface, ADDRESS the pod's. The agent repairs what is the node's within 100 ms, so it is done on and on. */
async function noticed(where: 'host' | 'pod', damage: string, words: RegExp): Promise<void> {
  await withAttached(async (attached) => {
    const { interfaces, ips } = attached.prevResult;
    const port = interfaces?.[0]?.name ?? '';
    const address = ips?.[0]?.address ?? '';
    const command = damage.replaceAll('PORT', port).replaceAll('ADDRESS', address);
    const answer = await condition(
      async () => {
        const times = where === 'pod' ? 1 : 20;
        const damaging = runtime.run(
          `for time in $(seq ${times}); do (${command}) || true; done`,
          where === 'pod' ? attached.of : undefined,
        );
        if (where === 'pod') await damaging;
        const found = await check(attached);
        await damaging;
        return found.status === 0 ? undefined : found;
      },
      { what: `CHECK to notice "${damage}"` },
    );
    assert.equal(answer.json.code, 100, answer.stdout);
    assert.match(answer.json.details ?? '', words);
    assert.match(answer.json.msg ?? '', /not as ADD made it/);
  });
}

test('CHECK: succeeds immediately after ADD and prints nothing, in every version that has it', async () => {
  for (const cniVersion of VERSIONS.slice(1)) {
    await withAttached(
      async (attached) => {
        const { status, stdout } = await check(attached, { cniVersion });
        assert.deepEqual([status, stdout], [0, '']);
      },
      { cniVersion },
    );
  }
});

test('CHECK: consults prevResult for the expected interfaces and addresses', () =>
  withAttached(async ({ of, prevResult }) => {
    const others: readonly (readonly [object, RegExp])[] = [
      [{ interfaces: [] }, /prevResult has no interface "eth0"/],
      [{ ips: [{ address: '10.32.0.77/32' }] }, /prevResult has 10\.32\.0\.77\/32/],
      [{ ips: [] }, /prevResult has none/],
    ];
    for (const [change, words] of others) {
      const answer = await check({ of, prevResult: { ...prevResult, ...change } });
      assert.equal(answer.json.code, 100, answer.stdout);
      assert.match(answer.json.details ?? '', words);
    }
  }));

test('CHECK: compares the MACs of both ends with prevResult', () =>
  withAttached(async ({ of, prevResult }) => {
    for (const index of [0, 1]) {
      const wrong = { name: '', ...prevResult.interfaces?.[index], mac: '0E:00:00:00:00:01' };
      const interfaces = prevResult.interfaces?.with(index, wrong) ?? [];
      const answer = await check({ of, prevResult: { ...prevResult, interfaces } });
      assert.match(answer.json.details ?? '', /has MAC .*, not 0e:00:00:00:00:01/);
    }
  }));

test('CHECK: allows a later plugin of the chain to have modified routes, MTU and DNS and to have added interfaces', () =>
  withAttached(async ({ of, prevResult }) => {
    await runtime.run(
      'ip route delete default; ip route add 192.168.0.0/16 dev eth0; ip link set eth0 mtu 1300',
      of,
    );
    assert.equal((await check({ of, prevResult })).json.code, 100);
    const changed: CniPrinted = {
      ...prevResult,
      interfaces: [
        ...(prevResult.interfaces?.slice(0, 1) ?? []),
        { name: 'eth0', ...prevResult.interfaces?.[1], mtu: 1300 },
        { name: 'later0', sandbox: of.netns },
      ],
      ips: [...(prevResult.ips ?? []), { address: '192.168.7.1/24', interface: 2 }],
      routes: [{ dst: '192.168.0.0/16' }],
      dns: { nameservers: ['192.168.7.3'] },
    };
    const answer = await check({ of, prevResult: changed });
    assert.equal(answer.status, 0, answer.stdout);
  }));

test('CHECK: an error when the interface of the result is missing or in an invalid state', async () => {
  await noticed('pod', 'ip link set eth0 down', /"eth0" is down/);
  await noticed('pod', 'ip link set eth0 address 0e:00:00:00:00:01', /"eth0" has MAC 0e:00:00:00:00:01, not/);
  await noticed('pod', 'ip link set eth0 mtu 1300', /"eth0" has MTU 1300, not/);
  await noticed('pod', 'ip link set eth0 down; ip link set eth0 name other0', /"eth0" is missing/);
  await noticed('pod', 'ip link delete eth0', /"vethwe.*" is missing/);
  await noticed(
    'host',
    'ip link set PORT address 0e:00:00:00:00:01',
    /"vethwe.*" has MAC 0e:00:00:00:00:01, not/,
  );
  await noticed('host', 'ip link set PORT mtu 1300', /"vethwe.*" has MTU 1300, not/);
});

test('CHECK: an error when the address of the result is missing', () =>
  noticed('pod', 'ip address delete ADDRESS dev eth0', /lacks address/));

test('CHECK: an error when a route of the result is missing', async () => {
  await noticed('pod', 'ip route delete default', /route by default .* is missing/);
  await noticed('pod', 'ip route flush dev eth0', /route to the gateway .* is missing/);
});

test('CHECK: an error when the firewall rules of the pod are missing', () =>
  noticed('host', 'nft flush set bridge weft pods', /anti-spoof element .* is missing/));

test('CHECK: an error when the container is not connected: port down, or no port of the bridge', async () => {
  await noticed('host', 'ip link set PORT down', /"vethwe.*" is down/);
  await noticed('host', 'ip link set PORT nomaster', /no port of bridge "weave"/);
  await noticed('host', 'bridge link set dev PORT hairpin off', /not in hairpin mode/);
});

test('CHECK: an error when it is asked in another namespace than that of ADD', () =>
  withAttached(async ({ of, prevResult }) => {
    const other = await runtime.container('elsewhere');
    const answer = await runtime.call('CHECK', { of, netns: other.netns, config: { prevResult } });
    assert.match(answer.json.details ?? '', /the network namespace is \d+, ADD was done in \d+/);
    await other.remove();
  }));

test('CHECK: an error when the IP reservation is gone, and when the agent that connectivity depends on is', () =>
  withAttached(async ({ of, prevResult }) => {
    const variables = { WEFT_CNI_DEADLINE_MS: '250', WEFT_CNI_SOCKET: '/run/weft/none.sock' };
    assert.equal((await runtime.call('CHECK', { of, config: { prevResult }, variables })).json.code, 11);
    assert.equal((await runtime.call('DEL', { of })).status, 0);
    assert.equal((await check({ of, prevResult })).json.code, 3);
  }));

test('CHECK: a second attachment is compared by its own routes and rule', () =>
  withAttached(async ({ of }) => {
    const added = await runtime.call('ADD', { of, ifname: 'net1' });
    const again = (): Promise<CniAnswer> =>
      runtime.call('CHECK', { of, ifname: 'net1', config: { prevResult: added.json } });
    assert.equal((await again()).status, 0);
    const table = added.json.routes?.[0]?.table;
    await runtime.run(`ip rule delete table ${table}`, of);
    assert.match((await again()).json.details ?? '', /rule for packets from .* is missing/);
    await runtime.run(`ip route flush table ${table}`, of);
    assert.match((await again()).json.details ?? '', /route by default .* is missing/);
    assert.equal((await runtime.call('DEL', { of, ifname: 'net1' })).status, 0);
  }));

const collect = (
  name: string,
  valid: readonly (readonly [containerID: string, ifname: string])[] | null,
): Promise<CniAnswer> =>
  runtime.call('GC', {
    config: {
      name,
      'cni.dev/valid-attachments': valid?.map(([containerID, ifname]) => ({ containerID, ifname })) ?? null,
    },
    variables: { CNI_CONTAINERID: undefined, CNI_NETNS: undefined, CNI_IFNAME: undefined },
  });

test('GC: removes everything of attachments that are not in the list, and prints nothing', async () => {
  const before = await runtime.holdings();
  const [kept, stale, gone] = await Promise.all(
    ['kept', 'stale', 'gone'].map((name) => runtime.container(name)),
  );
  assert.ok(kept !== undefined && stale !== undefined && gone !== undefined);
  const prevResult = await add(kept);
  await add(stale);
  await add(gone);
  assert.equal((await runtime.call('ADD', { of: kept, ifname: 'net1' })).status, 0);
  await gone.remove();
  const { status, stdout } = await collect('weft', [
    ['kept', 'eth0'],
    ['stale', 'eth9'],
    ['unknown', 'eth0'],
  ]);
  assert.deepEqual([status, stdout], [0, '']);
  assert.equal((await runtime.holdings()).used, before.used + 1);
  assert.doesNotMatch(await runtime.run('ip -br link', stale), /eth0/);
  assert.equal((await check({ of: kept, prevResult })).status, 0);
  for (const empty of [[], null]) assert.equal((await collect('weft', empty)).status, 0);
  assert.deepEqual(await runtime.holdings(), before);
  for (const each of [kept, stale]) assert.equal((await runtime.call('DEL', { of: each })).status, 0);
  await Promise.all([kept.remove(), stale.remove()]);
});

test('GC: leaves the attachments of other networks, also after a restart of the agent', async () => {
  const before = await runtime.holdings();
  const [ours, theirs] = await Promise.all(['ours', 'theirs'].map((name) => runtime.container(name)));
  assert.ok(ours !== undefined && theirs !== undefined);
  await add(ours, { name: 'weft' });
  await add(theirs, { name: 'another' });
  assert.equal((await collect('third', [])).status, 0);
  assert.equal((await runtime.holdings()).used, before.used + 2);
  const killed = node.agent.killRole('control');
  await node.agent.restored('control', killed);
  assert.equal((await collect('weft', [])).status, 0);
  assert.equal((await runtime.holdings()).used, before.used + 1);
  assert.match(await runtime.run('ip -br link', theirs), /eth0/);
  assert.equal((await collect('another', [])).status, 0);
  assert.deepEqual(await runtime.holdings(), before);
  await Promise.all([ours.remove(), theirs.remove()]);
});

test('GC: completes although resources are missing already', async () => {
  const before = await runtime.holdings();
  const of = await runtime.container('missing');
  const { interfaces } = await add(of);
  await runtime.run(`ip link delete ${interfaces?.[0]?.name}`);
  assert.equal((await collect('weft', [])).status, 0);
  assert.equal((await collect('weft', [])).status, 0);
  await until(async () => (await runtime.holdings()).used === before.used, {
    what: 'the address to be free',
  });
  await of.remove();
});

test('GC: without a list nothing is known to be stale: it removes nothing and succeeds', async () => {
  await withAttached(async (attached) => {
    const { status, stdout } = await runtime.call('GC');
    assert.deepEqual([status, stdout], [0, '']);
    assert.equal((await check(attached)).status, 0);
  });
});
