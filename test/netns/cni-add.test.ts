// CNI 1.1.0, ADD and DEL (sections 2, 3 and 5) and the conventions for what a runtime may ask for: one named test per requirement on a
// plugin, through the executed shim, against a real agent on a real kernel. docs/cni-conformance.md lists them.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { condition, until } from '../lab/condition.ts';
import {
  type CniAnswer,
  type CniCall,
  type CniPrinted,
  type Container,
  VERSIONS,
  allocationLines,
} from '../lab/cni-runtime.ts';
import { enterEnclosure } from '../lab/enclosure.ts';
import { openCniNode } from './cni-node.ts';

await enterEnclosure();

const { node, runtime } = await openCniNode();
let containers = 0;

/** A new container, removed at the end with what is attached to it; the node must hold what it held before. */
async function withContainer(work: (of: Container) => Promise<void>): Promise<void> {
  const before = await runtime.holdings();
  const of = await runtime.container(`c${(containers += 1)}`);
  await work(of);
  assert.deepEqual(await runtime.holdings(), before);
  await of.remove();
}

async function succeed(command: string, call: CniCall & { of: Container }): Promise<CniPrinted> {
  const answer = await runtime.call(command, call);
  assert.equal(answer.status, 0, answer.stdout);
  return answer.json;
}

const refuse = ({ status, json, stdout }: CniAnswer, code: number, message: RegExp): void => {
  assert.equal(json.code, code, stdout);
  assert.match(json.msg ?? '', message);
  assert.notEqual(status, 0);
};

const linksOf = (of: Container): Promise<string> => runtime.run('ip -br link', of);
const addressOf = ({ ips }: CniPrinted): string => ips?.[0]?.address.split('/')[0] ?? '';
/** Another address of the same /26 block. */
const inBlockOf = (address: string, offset: number): string =>
  address.replace(/\d+$/, (octet) => String((Number(octet) & 0xc0) + offset));
const reaches = async (of: Container, address: string, words = ''): Promise<boolean> =>
  runtime.run(`ping -c 1 -W 2 ${words} ${address}`, of).then(
    () => true,
    () => false,
  );

test('ADD: the interface CNI_IFNAME is made in CNI_NETNS, has the address of the result and reaches its gateway', () =>
  withContainer(async (of) => {
    const result = await succeed('ADD', { of, ifname: 'pod0' });
    assert.match(
      await runtime.run('ip -4 -br address show pod0', of),
      new RegExp(`UP +${addressOf(result)}/32`),
    );
    assert.ok(await reaches(of, result.ips?.[0]?.gateway ?? ''));
    await succeed('DEL', { of, ifname: 'pod0' });
  }));

test('ADD: the result has the shape of each version', async () => {
  for (const cniVersion of VERSIONS) {
    await withContainer(async (of) => {
      const result = await succeed('ADD', { of, config: { cniVersion, dns: { domain: 'a' } } });
      const host = (await runtime.holdings()).interfaces.at(-1);
      const macs = await Promise.all([
        runtime.run(`cat /sys/class/net/${host}/address`),
        runtime.run("ip -br link show eth0 | tr -s ' ' | cut -d ' ' -f 3", of),
      ]);
      const [hostMac, podMac] = macs.map((mac) => mac.trim());
      const mtu =
        cniVersion === '1.1.0' ? { mtu: Number(await runtime.run(`cat /sys/class/net/${host}/mtu`)) } : {};
      const version = cniVersion.startsWith('0.') ? { version: '4' } : {};
      const [gateway] = [result.ips?.[0]?.gateway];
      assert.deepEqual(result, {
        cniVersion,
        interfaces: [
          { name: host, mac: hostMac, ...mtu },
          { name: 'eth0', mac: podMac, ...mtu, sandbox: of.netns },
        ],
        ips: [{ ...version, address: `${addressOf(result)}/32`, gateway, interface: 1 }],
        routes: [{ dst: '0.0.0.0/0', gw: gateway }],
        dns: { domain: 'a' },
      });
      assert.match(await runtime.run('ip route', of), new RegExp(`^default via ${gateway} dev eth0`, 'm'));
      await succeed('DEL', { of, config: { cniVersion, prevResult: result } });
    });
  }
});

test('ADD: the result names the version of the input, and the sandbox is CNI_NETNS as it was given', () =>
  withContainer(async (of) => {
    const netns = `/run/../run/netns/${of.id}`;
    for (const cniVersion of VERSIONS) {
      const result = await succeed('ADD', { of, netns, config: { cniVersion } });
      assert.deepEqual([result.cniVersion, result.interfaces?.[1]?.sandbox], [cniVersion, netns]);
      await succeed('DEL', { of, netns });
    }
  }));

test('ADD: prevResult of an earlier plugin is the result with what Weft made behind it', () =>
  withContainer(async (of) => {
    await runtime.run('ip link add early0 type bridge; ip link set early0 up', of);
    const earlier = {
      interfaces: [{ name: 'early0', mac: '02:00:00:00:00:01', sandbox: of.netns, pciID: 'x', 'x-more': 1 }],
      ips: [{ address: '192.168.7.1/24', interface: 0 }],
      routes: [{ dst: '192.168.8.0/24', gw: '192.168.7.2', mtu: 1300 }],
      dns: { nameservers: ['192.168.7.3'] },
      'x-unknown': { kept: true },
    };
    for (const cniVersion of VERSIONS) {
      const prevResult = { cniVersion, ...earlier };
      const result = await succeed('ADD', { of, config: { cniVersion, prevResult, dns: { domain: 'a' } } });
      assert.deepEqual(result.interfaces?.slice(0, 1), earlier.interfaces);
      assert.equal(result.interfaces?.[2]?.name, 'eth0');
      assert.deepEqual(
        result.ips?.map((ip) => ip.interface),
        [0, 2],
      );
      assert.deepEqual(result.routes?.slice(0, 1), earlier.routes);
      assert.deepEqual(result.routes?.[1], { dst: '0.0.0.0/0', gw: result.ips?.[1]?.gateway });
      assert.deepEqual([result.dns, result.cniVersion], [earlier.dns, cniVersion]);
      assert.deepEqual((result as { 'x-unknown'?: object })['x-unknown'], { kept: true }); // as: a field of another plugin
      if (cniVersion !== '0.3.1') await succeed('CHECK', { of, config: { cniVersion, prevResult: result } });
      await succeed('DEL', { of, config: { cniVersion, prevResult: result } });
    }
  }));

test('ADD: an interface of the requested name that exists in the container is an error and stays', () =>
  withContainer(async (of) => {
    await runtime.run('ip link add eth0 address 02:00:00:00:00:07 type bridge', of);
    refuse(await runtime.call('ADD', { of }), 4, /the pod already has an interface "eth0"/);
    assert.match(await linksOf(of), /02:00:00:00:00:07/);
    await succeed('DEL', { of });
    assert.match(await linksOf(of), /02:00:00:00:00:07/);
  }));

test('ADD: twice is an error that leaves the first intact', () =>
  withContainer(async (of) => {
    const prevResult = await succeed('ADD', { of });
    const held = await runtime.holdings();
    const another = await runtime.container('another');
    for (const netns of [of.netns, another.netns]) {
      refuse(await runtime.call('ADD', { of, netns }), 4, /CNI_IFNAME "eth0" is in use/);
    }
    assert.deepEqual(await runtime.holdings(), held);
    assert.ok(await reaches(of, prevResult.ips?.[0]?.gateway ?? ''));
    await succeed('CHECK', { of, config: { prevResult } });
    await another.remove();
    await succeed('DEL', { of });
  }));

test('ADD: one that fails at any step leaves nothing behind', async () => {
  const failures: readonly (readonly [number, string, Partial<CniCall>])[] = [
    [4, 'ip link add eth0 type bridge', {}],
    [4, 'ip link add aa0 type veth peer name net7', { ifname: 'net7' }],
    [5, 'true', { ifname: '%d%d' }],
    [101, 'true', { config: { runtimeConfig: { ips: ['10.99.0.1'] } } }],
    [7, 'true', { config: { runtimeConfig: { mac: 'ff:ff:ff:ff:ff:ff' } } }],
    [6, 'true', { config: '{' }],
  ];
  for (const [code, damage, call] of failures) {
    await withContainer(async (of) => {
      await runtime.run(damage, of);
      const [links, addresses] = [await linksOf(of), await runtime.run('ip -4 address', of)];
      assert.equal(
        (await runtime.call('ADD', { of, ...call })).json.code,
        code,
        `${damage} ${JSON.stringify(call)}`,
      );
      assert.deepEqual([await linksOf(of), await runtime.run('ip -4 address', of)], [links, addresses]);
    });
  }
});

test('ADD: a full disk fails it with code 11 and leaves nothing behind; DEL succeeds meanwhile', () =>
  withContainer(async (of) => {
    const other = await runtime.container('other');
    await succeed('ADD', { of: other });
    await runtime.run(
      'mount -o remount,size=256k /var/lib/weft; cat /dev/zero >/var/lib/weft/fill 2>/dev/null || true',
    );
    const refused = await condition(
      async () => {
        const answer = await runtime.call('ADD', { of });
        if (answer.status !== 0) return answer;
        await succeed('DEL', { of }); // the log's last page had room
        return undefined;
      },
      { what: 'the log to be full', intervalMs: 0 },
    );
    refuse(refused, 11, /log/);
    assert.equal((await runtime.holdings()).used, 1);
    assert.doesNotMatch(await linksOf(of), /eth0/);
    await succeed('DEL', { of: other });
    await runtime.run('rm /var/lib/weft/fill; mount -o remount,size=50% /var/lib/weft');
    await other.remove();
    await until(async () => (await runtime.call('ADD', { of })).status === 0, {
      what: 'ADD to succeed again',
    });
    await succeed('DEL', { of });
  }));

test('ADD: several attachments of a container, each with its own interface, reach everything and go one by one', () =>
  withContainer(async (of) => {
    const far = await runtime.container('far');
    const target = addressOf(await succeed('ADD', { of: far }));
    const first = await succeed('ADD', { of });
    const second = await succeed('ADD', { of, ifname: 'net1', config: { name: 'second' } });
    assert.notEqual(addressOf(first), addressOf(second));
    assert.equal(second.routes?.[0]?.table !== undefined, true);
    for (const result of [first, second]) {
      assert.ok(await reaches(of, target, `-I ${addressOf(result)}`), JSON.stringify(result));
      assert.ok(await reaches(far, addressOf(result)), JSON.stringify(result));
    }
    const check = (): Promise<unknown> => succeed('CHECK', { of, config: { prevResult: first } });
    await check();
    await succeed('CHECK', { of, ifname: 'net1', config: { name: 'second', prevResult: second } });
    await succeed('DEL', { of, ifname: 'net1', config: { name: 'second' } });
    await check();
    assert.ok(await reaches(of, target));
    const third = await succeed('ADD', { of, ifname: 'net1', config: { cniVersion: '1.0.0' } });
    assert.deepEqual(third.routes, []);
    assert.equal(
      (await runtime.run('ip rule', of)).match(/from 10\./g)?.length,
      1,
      'no rule of an attachment before',
    );
    assert.ok(await reaches(far, addressOf(third)));
    await succeed('DEL', { of });
    assert.ok(await reaches(far, addressOf(third)));
    await succeed('DEL', { of, ifname: 'net1' });
    await succeed('DEL', { of: far });
    await far.remove();
  }));

test('concurrency: ADD and DEL of different containers at the same time', async (context) => {
  const before = await runtime.holdings();
  const many = await Promise.all(Array.from({ length: 40 }, (_, index) => runtime.container(`p${index}`)));
  const results = await Promise.all(many.map((of) => succeed('ADD', { of })));
  assert.equal(new Set(results.map(addressOf)).size, many.length);
  for (const [index, of] of many.entries()) {
    await succeed('CHECK', { of, config: { prevResult: results[index] } });
  }
  await Promise.all(many.map((of) => succeed('DEL', { of })));
  assert.deepEqual(await runtime.holdings(), before);
  await Promise.all(many.map((of) => of.remove()));
  context.diagnostic(`${many.length} containers at the same time`);
});

test('capabilities: ips gives the address that was asked for, with or without a prefix', () =>
  withContainer(async (of) => {
    const free = inBlockOf(addressOf(await succeed('ADD', { of })), 40);
    await succeed('DEL', { of });
    for (const ips of [[free], [`${free}/24`]]) {
      const result = await succeed('ADD', { of, config: { runtimeConfig: { ips } } });
      assert.equal(addressOf(result), free);
      assert.match(await runtime.run('ip -4 -br address show eth0', of), new RegExp(`${free}/32`));
      await succeed('DEL', { of });
    }
  }));

test('capabilities: an address that is taken, reserved or of another node is refused, a malformed one too', () =>
  withContainer(async (of) => {
    const other = await runtime.container('owner');
    const taken = addressOf(await succeed('ADD', { of: other }));
    const gateway = inBlockOf(taken, 1);
    const ask = (ips: unknown): Promise<CniAnswer> =>
      runtime.call('ADD', { of, config: { runtimeConfig: { ips } } });
    refuse(await ask([taken]), 101, /another pod of this node has it/);
    for (const address of [gateway, '10.47.255.1', '192.168.0.1']) {
      refuse(await ask([address]), 101, /no pod address of this node's blocks/);
    }
    for (const ips of ['10.32.0.9', ['10.32.0'], ['10.32.0.9/33'], ['10.32.0.9/x'], [7], {}]) {
      refuse(await ask(ips), 7, /runtimeConfig\.ips/);
    }
    await succeed('DEL', { of: other });
    await other.remove();
  }));

test('capabilities: mac gives the MAC that was asked for, also after a repair; another than a unicast one is refused', () =>
  withContainer(async (of) => {
    const other = await runtime.container('mac');
    const mac = 'c2:11:22:33:44:55';
    const config = { runtimeConfig: { mac: mac.toUpperCase() } };
    const result = await succeed('ADD', { of, config });
    assert.equal(result.interfaces?.[1]?.mac, mac);
    assert.match(await linksOf(of), new RegExp(mac));
    assert.ok(await reaches(of, result.ips?.[0]?.gateway ?? ''));
    refuse(await runtime.call('ADD', { of: other, config }), 102, /another interface of this node has it/);
    await runtime.run('nft flush set bridge weft pods');
    await until(async () => (await runtime.holdings()).elements.length > 0, {
      what: 'the anti-spoof element',
      boundMs: 40_000,
    });
    await succeed('CHECK', { of, config: { prevResult: result } });
    assert.ok(await reaches(of, result.ips?.[0]?.gateway ?? ''));
    await succeed('DEL', { of });
    for (const bad of ['01:00:5e:00:00:01', 'ff:ff:ff:ff:ff:ff', '00:00:00:00:00:00', 'c2:11', 'x', 7]) {
      refuse(
        await runtime.call('ADD', { of, config: { runtimeConfig: { mac: bad } } }),
        7,
        /runtimeConfig\.mac/,
      );
    }
    await other.remove();
  }));

test('args: cni.ips asks for an address and goes before CNI_ARGS; the capability goes before both', () =>
  withContainer(async (of) => {
    const base = addressOf(await succeed('ADD', { of }));
    await succeed('DEL', { of });
    const [a, b, c] = [41, 42, 43].map((offset) => inBlockOf(base, offset));
    const variables = { CNI_ARGS: `IgnoreUnknown=1;IP=${c}/16;MAC=c2:00:00:00:00:09` };
    const args = { cni: { ips: [b], labels: [] } };
    for (const [config, wanted] of [
      [{ runtimeConfig: { ips: [a] }, args }, a],
      [{ args, runtimeConfig: { ips: [] } }, b],
      [{}, c],
    ] as const) {
      const result = await succeed('ADD', { of, config, variables });
      assert.equal(addressOf(result), wanted);
      assert.equal(result.interfaces?.[1]?.mac, 'c2:00:00:00:00:09');
      await succeed('DEL', { of, variables });
    }
    for (const CNI_ARGS of ['IP=10.32.0', 'MAC=01:00:5e:00:00:01']) {
      refuse(await runtime.call('ADD', { of, variables: { CNI_ARGS } }), 4, /^CNI_ARGS (IP|MAC) /);
    }
  }));

test('DEL: removes the interface in the container and releases everything of the attachment', () =>
  withContainer(async (of) => {
    await succeed('ADD', { of });
    assert.match(await linksOf(of), /eth0/);
    const answer = await runtime.call('DEL', { of });
    assert.deepEqual([answer.status, answer.stdout], [0, '']);
    assert.doesNotMatch(await linksOf(of), /eth0/);
    assert.equal(allocationLines(node, `"${of.id}"`).length > 0, true);
  }));

test('DEL: succeeds however often it is called, and for what was never added', () =>
  withContainer(async (of) => {
    await succeed('DEL', { of });
    await succeed('ADD', { of });
    for (let times = 0; times < 3; times += 1) await succeed('DEL', { of });
    await succeed('DEL', { of, id: 'never-seen', ifname: 'net9' });
  }));

test('DEL: succeeds when resources are missing: the interface, the namespace, prevResult, a valid configuration', async () => {
  const cases: readonly (readonly [damage: string, call: CniCall])[] = [
    ['ip netns exec NETNS ip link delete eth0', {}],
    ['ip netns delete NETNS', {}],
    ['ip netns delete NETNS', { netns: '' }],
    ['ip netns delete NETNS; touch /run/netns/NETNS', {}],
    ['nft delete table bridge weft', {}],
    ['true', { variables: { CNI_NETNS: undefined } }],
    ['true', { config: 'no JSON' }],
    ['true', { config: { cniVersion: '9.9' } }],
    ['true', { config: { prevResult: { ips: 7 } } }],
    ['true', { variables: { CNI_ARGS: 'FOO' } }],
  ];
  for (const [index, [damage, call]] of cases.entries()) {
    const before = await runtime.holdings();
    const of = await runtime.container(`gone${index}`);
    await succeed('ADD', { of });
    await runtime.run(damage.replaceAll('NETNS', of.id));
    await succeed('DEL', { of, ...call });
    await succeed('DEL', { of, ...call });
    const table = { what: 'the anti-spoof table to be there', boundMs: 40_000 };
    await until(() => runtime.holdings().then(() => true), table);
    assert.deepEqual(await runtime.holdings(), before, damage);
    await runtime.run(`ip netns delete ${of.id} 2>/dev/null || rm -f /run/netns/${of.id}`);
  }
});
