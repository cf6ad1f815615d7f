// `weft doctor` on lab nodes with real agents: it finds nothing on healthy ones, and names what was really injected, on the node where it is.
//
//   node-1, node-2, node-3 with agents, pods on node-1 and node-2, an API server that misbehaves on demand
import assert from 'node:assert/strict';
import process from 'node:process';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import type { Severity } from '../../agent/doctor/check.ts';
import type { NodeReport } from '../../proto/node-report.ts';
import { runScript, spawnIn, tryCommand } from '../lab/command.ts';
import { condition, until } from '../lab/condition.ts';
import { enterEnclosure } from '../lab/enclosure.ts';
import { createLab, type Lab, type LabNode } from '../lab/lab.ts';

await enterEnclosure();

const WEFT = fileURLToPath(new URL('../../agent/cli/weft.ts', import.meta.url));

interface Finding {
  readonly check: string;
  readonly severity: Severity;
  readonly what: string;
}

interface Diagnosis {
  readonly status: number;
  readonly seconds: number;
  readonly findings: readonly Finding[];
  readonly repairs: readonly string[];
  readonly unseen: readonly string[];
}

let lab: Lab;
let first: LabNode;
let second: LabNode;
let third: LabNode;

before(async () => {
  lab = await createLab({ faults: true });
  const nodes = await lab.addNodes(['node-1', 'node-2', 'node-3']);
  assert.equal(nodes.length, 3);
  [first, second, third] = nodes as [LabNode, LabNode, LabNode]; // as: counted above
  await first.addPod('one');
  await first.addPod('two');
  await second.addPod('three');
  await healed();
});
after(() => lab.close());

async function doctor(node: LabNode, ...flags: readonly string[]): Promise<Diagnosis> {
  const { status, stdout, stderr } = await tryCommand(
    node.namespace.place,
    [process.execPath, '--disable-warning=ExperimentalWarning', WEFT, 'doctor', '-o', 'json', ...flags],
    { env: { HOSTNAME: node.name, WEFT_NODE_IP: node.address, KUBECONFIG: lab.api.kubeconfig } },
  );
  assert.equal(stderr, '');
  return { ...(JSON.parse(stdout) as Omit<Diagnosis, 'status'>), status }; // as: its own program
}

const words = ({ findings }: Diagnosis): string =>
  findings.map(({ check, what }) => `${check}: ${what}`).join('\n');

const inside = (node: LabNode, ...lines: readonly string[]): Promise<string> =>
  runScript(node.namespace.place, lines);

const peersOf = async (node: LabNode): Promise<NodeReport['peers']> =>
  (JSON.parse(await node.agent.status('/report')) as NodeReport).peers; // as: our own agent's

const peerState = (node: LabNode, name: string, state: string): Promise<void> =>
  until(async () => (await peersOf(node)).some((peer) => peer.name === name && peer.state === state), {
    what: `"${node.name}" to see "${name}" as ${state}`,
  });

/** Every node hears every other one, and has no repair to tell of. */
async function healed(): Promise<void> {
  await until(
    async () => {
      const peers = await Promise.all(lab.nodes.map(peersOf));
      return peers.every((seen) => seen.length === 2 && seen.every(({ state }) => state === 'established'));
    },
    { what: 'all peers to answer again' },
  );
}

test('nothing is found on healthy nodes', async (t) => {
  const diagnoses = await Promise.all(lab.nodes.map((node) => doctor(node)));
  for (const { findings, unseen, status } of diagnoses) {
    assert.deepEqual({ findings, unseen, status }, { findings: [], unseen: [], status: 0 });
  }
  t.diagnostic(`three at once took ${diagnoses.map(({ seconds }) => seconds.toFixed(1)).join(', ')} s`);
});

test('a firewall that drops the tunnel inbound is named where it is; its peer tells the direction', async () => {
  await inside(
    first,
    'nft add table inet fw',
    "nft 'add chain inet fw in { type filter hook input priority 0; }'",
    `nft add rule inet fw in ip saddr ${second.address} udp dport 6784 drop`,
  );
  await peerState(second, 'node-1', 'failed');
  await peerState(first, 'node-2', 'failed');
  const [here, there] = await Promise.all([doctor(first), doctor(second)]);
  await inside(first, 'nft delete table inet fw');
  assert.match(words(here), /foreign_rules: Rule \d+ of chain "inet fw in" drops what peer "node-2" sends/);
  assert.match(words(here), /peer_unreachable: .*"node-2".*stopped by rule \d+ of chain "inet fw in"/);
  assert.match(words(there), /peer_unreachable: .*"node-1".*its own probes arrive here/);
  assert.doesNotMatch(words(there), /foreign_rules/);
  assert.equal(here.status, 1);
  await healed();
});

test('a firewall that drops the tunnel outbound is named', async () => {
  await inside(
    first,
    'nft add table ip fw',
    "nft 'add chain ip fw out { type filter hook output priority 0; }'",
    `nft add rule ip fw out ip daddr ${second.address} udp dport 6784 drop`,
  );
  await peerState(first, 'node-2', 'failed');
  const here = await doctor(first);
  await inside(first, 'nft delete table ip fw');
  assert.match(words(here), /chain "ip fw out" drops what this node sends to UDP port 6784 of peer "node-2"/);
  assert.match(words(here), /"egress_send_failed"|stopped by rule/);
  await healed();
});

test('a forward policy and a masquerade rule that catch pods are named', async () => {
  await inside(
    first,
    'nft add table ip fw',
    "nft 'add chain ip fw forwarded { type filter hook forward priority 0; policy drop; }'",
    "nft 'add chain ip fw nat { type nat hook postrouting priority 100; }'",
    'nft add rule ip fw nat ip saddr 10.32.0.0/12 oifname != docker0 masquerade',
  );
  const found = words(await doctor(first, '--only', 'foreign_rules'));
  await inside(first, 'nft delete table ip fw');
  assert.match(found, /policy of chain "ip fw forwarded" drops packets of pods/);
  assert.match(found, /chain "ip fw nat" rewrites the source of packets/);
});

test('a policy rule, and a route into the range, are named', async () => {
  await inside(
    first,
    'ip route add default via 172.31.0.1 table 99',
    'ip rule add from 10.32.0.0/12 lookup 99 pref 100',
    'ip route add 10.40.0.0/16 via 172.31.0.1',
  );
  const found = words(await doctor(first));
  await inside(
    first,
    'ip rule del pref 100',
    'ip route flush table 99',
    'ip route del 10.40.0.0/16 via 172.31.0.1',
  );
  assert.match(found, /foreign_routes: .*table 99 by 172.31.0.1 sends it to "eth0" \(rule 100\)/);
  assert.match(found, /range_overlap: Route 10.40.0.0\/16 on "eth0" overlaps/);
});

test('a stopped data plane is named, and --fix continues it', async () => {
  const pid = first.agent.pidOf('dataplane');
  process.kill(pid, 'SIGSTOP');
  const found = await doctor(first);
  assert.match(words(found), new RegExp(`agent_processes: The dataplane \\(process ${pid}\\) is stopped`));
  const { repairs } = await doctor(first, '--fix', '--only', 'agent_processes');
  assert.deepEqual(repairs, [`continued process ${pid} (dataplane)`]);
  await healed();
});

test('without control, what nobody puts right is named, and --fix does it', async () => {
  const pid = first.agent.pidOf('control');
  process.kill(pid, 'SIGSTOP');
  const port = (await inside(first, "ip -o link | grep -o 'vethwe[0-9a-z]*' | head -1")).trim();
  await inside(
    first,
    'ip link set weave down',
    `ip link set ${port} nomaster`,
    'nft flush set bridge weft pods',
  );
  const found = await doctor(first);
  const fixed = await doctor(first, '--fix');
  const left = await doctor(first, '--only', 'pod_guard');
  process.kill(pid, 'SIGCONT');
  assert.match(words(found), /agent: The agent runs .*does not answer/);
  assert.match(words(found), /agent_processes: The control/);
  assert.match(words(found), /bridge: Interface "weave": it is down/);
  assert.match(words(found), new RegExp(`pod_ports: Interface "${port}"`));
  assert.match(words(found), /pod_guard: /);
  assert.ok(found.seconds < 5, `${found.seconds} s`);
  assert.ok(fixed.repairs.includes('set up of interface "weave"'), fixed.repairs.join('; '));
  assert.deepEqual(left.findings, []);
  await healed();
});

test('a repair of the agent tells that somebody changes the network', async () => {
  await inside(first, 'ip route del 10.32.0.0/12 dev weft0');
  const found = await condition(
    async () => {
      const diagnosis = await doctor(first, '--only', 'network_contested');
      return diagnosis.findings.some(({ what }) => /10\.32\.0\.0\/12/.test(what)) ? diagnosis : undefined;
    },
    { what: 'the repair to be told' },
  );
  assert.match(words(found), /put right .* ago: set route 10.32.0.0\/12 via "weft0"/);
});

test('a peer without a cable is told from one that is blocked', async () => {
  await third.namespace.setCable(false);
  await peerState(first, 'node-3', 'failed');
  await inside(first, `ip neigh flush to ${third.address}`);
  const [here, there] = await Promise.all([doctor(first), doctor(third)]);
  await third.namespace.setCable(true);
  assert.match(words(here), /peer_unreachable: Peer "node-3" .*no machine answers at its address/);
  assert.match(words(there), /underlay: Underlay interface "eth0" is up without a carrier/);
  await healed();
});

test('a refusal of the API server, and its absence, are told apart', async () => {
  const { status } = await lab.api.send('PUT', '/faults', [
    { action: 'respond', code: 403, verb: 'get', resource: 'peers.weft.dev', count: 1000 },
  ]);
  assert.equal(status, 200);
  const forbidden = await doctor(first, '--only', 'api');
  await lab.api.send('PUT', '/faults', [{ action: 'stall', verb: 'get', resource: 'nodes', count: 1000 }]);
  const halfOpen = await doctor(first, '--only', 'api');
  await lab.api.send('DELETE', '/faults');
  await lab.api.stop();
  const away = await doctor(first, '--only', 'api');
  await lab.api.start();
  assert.match(words(forbidden), /role does not allow it to get its Peer \(403\)/);
  assert.match(words(halfOpen), /did not answer within/);
  assert.match(words(away), /cannot be reached \(ECONNREFUSED\)/);
});

test('two nodes with one MAC address are named by a third', async () => {
  const link = await inside(third, 'cat /sys/class/net/eth0/address');
  await inside(second, `ip link set eth0 address ${link.trim()}`);
  await inside(first, 'ip neigh flush dev eth0');
  const found = await condition(
    async () => {
      await inside(
        first,
        `ping -c 1 -W 1 ${second.address} || true`,
        `ping -c 1 -W 1 ${third.address} || true`,
      );
      const diagnosis = await doctor(first, '--only', 'duplicate_identity');
      return diagnosis.findings.length > 0 ? diagnosis : undefined;
    },
    { what: 'the doubled address to be seen', boundMs: 30_000 },
  );
  assert.match(words(found), /have one MAC address on the underlay/);
  await inside(second, 'ip link set eth0 address 02:00:5e:00:53:02');
  await inside(first, 'ip neigh flush dev eth0');
  await inside(third, 'ip neigh flush dev eth0');
  await healed();
});

test('a peer of another network is named by what it sends', async () => {
  await third.agent.stop();
  third.agent.start({ WEFT_VNI: '2' });
  await third.agent.ready();
  const found = await condition(
    async () => {
      const diagnosis = await doctor(first, '--only', 'refused_packets');
      return diagnosis.findings.length > 0 ? diagnosis : undefined;
    },
    { what: 'a refused packet' },
  );
  assert.match(words(found), /peer "node-3".*"vxlan_vni"/);
  await third.agent.stop();
});

test('without an agent it says why there is none', async () => {
  const squatter = spawnIn(
    third.namespace.place,
    [
      process.execPath,
      '-e',
      `require('node:dgram').createSocket('udp4').bind(6784, '${third.address}', () => console.log('bound'))`,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  await new Promise((resolve) => squatter.stdout?.once('data', resolve));
  await inside(third, 'ip address add 10.33.1.1/24 dev eth0', 'truncate -s 100 /var/lib/weft/snapshot.json');
  const found = await doctor(third);
  squatter.kill('SIGKILL');
  assert.match(words(found), /agent: No agent answers .*none of its processes runs here/);
  assert.match(
    words(found),
    new RegExp(`tunnel_port: UDP port 6784 is also held by "[^"]+" \\(process ${squatter.pid}\\)`),
  );
  assert.match(words(found), /range_overlap: Address 10.33.1.1\/24/);
  assert.match(words(found), /snapshot: /);
  assert.doesNotMatch(JSON.stringify(found), /ip route del 0\.0\.0\.0/);
});
