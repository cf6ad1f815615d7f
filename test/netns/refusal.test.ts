// An agent that cannot start stays and says why: one sentence in the log, the same at its status address and as an Event about its Node.
// It leaves nothing half-made, touches nothing that runs, and goes on by itself when what is wrong is put right.
//
//   node-1 ═ pod ──── node-2 ═ pod      the cluster that must not notice
//   refusing                            a node whose agent is started with what it must refuse
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import process from 'node:process';
import { after, afterEach, before, test } from 'node:test';

import type { AgentEnvironment } from '../lab/agent.ts';
import { runCommand, tryCommand } from '../lab/command.ts';
import { condition, until } from '../lab/condition.ts';
import { settle } from '../lab/disturbance.ts';
import { enterEnclosure } from '../lab/enclosure.ts';
import { type Lab, type LabNode, createLab } from '../lab/lab.ts';
import { startProcess } from '../lab/process.ts';
import { pingFrom } from '../lab/reachability.ts';

await enterEnclosure();

let lab: Lab;
let first: LabNode;
let node: LabNode;
let readUpTo = 0;

before(async () => {
  lab = await createLab();
  const [one, two] = await lab.addNodes(['node-1', 'node-2']);
  assert.ok(one !== undefined && two !== undefined);
  first = one;
  await one.addPod('one');
  await two.addPod('two');
  node = await lab.addNode('refusing', { start: false });
});

afterEach(() => node.agent.stop());

after(() => lab.close());

interface LogLine {
  readonly level: string;
  readonly event: string;
  readonly msg: string;
}

/** What the agent of a node has logged since `from` characters. */
const logged = ({ agent }: LabNode, from: number): readonly LogLine[] =>
  readFileSync(agent.logFile, 'utf8')
    .slice(from)
    .trim()
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as LogLine); // as: the log's own format

const refusals = (of: LabNode, from: number): readonly string[] =>
  logged(of, from)
    .filter(({ event }) => event === 'agent_refused_to_start')
    .map(({ msg }) => msg);

const page = async (path: string): Promise<{ status: string; body: string }> => {
  const curl = ['curl', '--silent', '--max-time', '5', '--write-out', '\n%{http_code}'];
  const { stdout } = await tryCommand(node.namespace.place, [...curl, `http://127.0.0.1:6784${path}`]);
  const lines = stdout.trimEnd().split('\n');
  return { status: lines.pop() ?? '', body: lines.join('\n').trimEnd() };
};

interface NodeEvent {
  readonly type: string;
  readonly reason: string;
  readonly message: string;
  readonly involvedObject: { readonly name: string; readonly uid: string };
}

async function eventsOf({ name, uid }: LabNode): Promise<readonly NodeEvent[]> {
  const { body } = await lab.api.send('GET', '/api/v1/namespaces/default/events');
  const { items } = body as { items: readonly NodeEvent[] }; // as: a list of Events
  return items.filter(({ involvedObject }) => involvedObject.name === name && involvedObject.uid === uid);
}

const eventFor = (of: LabNode, sentence: string): Promise<NodeEvent> =>
  condition(async () => (await eventsOf(of)).find(({ message }) => message === sentence), {
    what: `an Event with "${sentence}"`,
  });

interface Refusal {
  readonly what: string;
  readonly environment?: AgentEnvironment;
  readonly sentence: RegExp;
  readonly reason?: string;
}

/** Starts an agent that must refuse, and resolves to its sentence once it is told everywhere. */
async function refuse({ environment = {}, sentence, reason }: Omit<Refusal, 'what'>): Promise<string> {
  readUpTo = readLength(node);
  node.agent.start(environment);
  const said = await condition(() => refusals(node, readUpTo)[0], { what: 'the agent to refuse' });
  assert.match(said, sentence);
  await until(async () => (await page('/readyz')).status === '503', { what: 'the status address' });
  assert.equal((await page('/readyz')).body, said);
  assert.match((await page('/status')).body, /Ready: no: Cannot /);
  assert.ok((await page('/status')).body.includes(said));
  const event = await eventFor(node, said);
  assert.deepEqual([event.type, event.reason], ['Warning', reason ?? 'InvalidConfiguration']);
  assert.deepEqual(refusals(node, readUpTo), [said]);
  assert.ok(node.agent.running());
  return said;
}

const readLength = ({ agent }: LabNode): number => {
  try {
    return readFileSync(agent.logFile, 'utf8').length;
  } catch {
    return 0;
  }
};

/** Nothing of ours is on the node. */
async function expectUntouched(): Promise<void> {
  const left = await runCommand(node.namespace.place, ['sh', '-c', 'ip -o link; nft list tables']);
  assert.doesNotMatch(left, /weave|weft0: <POINTOPOINT|table/);
}

const IMPOSSIBLE: readonly Refusal[] = [
  {
    what: 'a range without a prefix length',
    environment: { IPALLOC_RANGE: '10.32.0.0' },
    sentence: /Cannot use IPALLOC_RANGE: "10\.32\.0\.0" is not a CIDR/,
  },
  {
    what: 'a range with host bits',
    environment: { IPALLOC_RANGE: '10.32.0.1/12' },
    sentence: /Cannot use IPALLOC_RANGE: .*did you mean 10\.32\.0\.0\/12\?/,
  },
  {
    what: 'a range that is too small',
    environment: { IPALLOC_RANGE: '10.32.0.0/28' },
    sentence: /Cannot use IPALLOC_RANGE="10\.32\.0\.0\/28": it is too small/,
  },
  {
    what: "a range over the node's own address",
    environment: { IPALLOC_RANGE: '172.31.0.0/16' },
    sentence: /Cannot use IPALLOC_RANGE="172\.31\.0\.0\/16": it overlaps the node's own address/,
  },
  {
    what: 'an InternalIP that is an IPv6 address',
    environment: { WEFT_NODE_IP: 'fd00::1' },
    sentence: /Cannot use WEFT_NODE_IP="fd00::1": it is an IPv6 address .*IPv4 InternalIP/,
  },
  {
    what: 'an InternalIP that is on no interface',
    environment: { WEFT_NODE_IP: '172.31.200.200' },
    sentence: /Cannot find the node's address 172\.31\.200\.200 on any interface: set WEFT_NODE_IP/,
  },
];

for (const { what, ...refusal } of IMPOSSIBLE) {
  test(`${what}: one sentence in the log, at the status address and as an Event; nothing half-made`, async () => {
    await refuse(refusal);
    await expectUntouched();
  });
}

test('an address of Services in the range is refused, without touching the network', async () => {
  await refuse({
    environment: { KUBERNETES_SERVICE_HOST: '10.32.0.1' },
    sentence:
      /Cannot use IPALLOC_RANGE="10\.32\.0\.0\/12": it overlaps the Services' addresses.*10\.32\.0\.1;/,
  });
  const left = await runCommand(node.namespace.place, ['sh', '-c', 'ip -o link; ip route; nft list tables']);
  assert.doesNotMatch(left, /weave|10\.32|table/);
});

interface Curable extends Refusal {
  /** Brings it about; returns what puts it right. */
  readonly bring: () => Promise<() => Promise<unknown>>;
}

const inNode = (words: string): Promise<string> => runCommand(node.namespace.place, words.split(' '));

const CURABLE: readonly Curable[] = [
  {
    what: 'an interface of another program under our name',
    sentence: /weft0.*remove it/,
    reason: 'NetworkUnavailable',
    bring: async () => {
      await inNode('ip link add weft0 type bridge');
      return () => inNode('ip link delete weft0');
    },
  },
  {
    what: "another program at the tunnel's port",
    sentence: /Cannot receive on UDP .*another program holds the port/,
    reason: 'NetworkUnavailable',
    bring: async () => {
      const script = `require("dgram").createSocket("udp4").bind(6784, "${node.address}", () => console.log("bound"))`;
      const { place } = node.namespace;
      const holder = startProcess({
        place,
        command: [process.execPath, '-e', script],
        logFile: '/run/lab/port.log',
      });
      await until(() => readFileSync(holder.logFile, 'utf8').includes('bound'), {
        what: 'the port to be taken',
      });
      return () => holder.kill();
    },
  },
  {
    what: 'an MTU larger than the underlay carries',
    environment: { WEAVE_MTU: '1500' },
    sentence: /Cannot use WEAVE_MTU="1500": interface "eth0" carries 1500 bytes, which leaves 1450 for pods/,
    bring: () => Promise.resolve(() => inNode('ip link set eth0 mtu 1550')),
  },
];

for (const { what, bring, ...refusal } of CURABLE) {
  test(`${what}: refused, and put right from outside the same process goes on`, async () => {
    const cure = await bring();
    try {
      await refuse(refusal);
    } finally {
      await cure();
    }
    const pid = node.agent.pidOf('keeper');
    await node.agent.ready();
    assert.equal(node.agent.pidOf('keeper'), pid);
    assert.doesNotMatch(JSON.stringify(logged(node, readUpTo)), /EADDRINUSE/);
    const pod = await node.addPod('afterwards');
    const others = lab.pods().filter(({ name }) => name !== pod.name);
    await until(
      async () => (await pingFrom(pod, others)).every(({ roundTripMs }) => roundTripMs !== undefined),
      {
        what: 'the new pod to reach the others',
      },
    );
    await pod.delete();
  });
}

test('an API that is away is told when it is back', async () => {
  await lab.api.stop();
  readUpTo = readLength(node);
  node.agent.start({ WEFT_PORT: 'six' });
  const said = await condition(() => refusals(node, readUpTo)[0], { what: 'the agent to refuse' });
  await until(() => logged(node, readUpTo).some(({ event }) => event === 'event_failed'), {
    what: 'a failure to tell',
  });
  await lab.api.start();
  await eventFor(node, said);
});

test('a refused agent ends on SIGTERM, and without a cluster to tell with code 1', async () => {
  await refuse({ environment: { WEFT_VNI: 'x' }, sentence: /WEFT_VNI="x"/ });
  await node.agent.stop();
  assert.equal((await page('/status')).status, '000');
  const { code, log } = await node.agent.startAndEnd({ WEFT_VNI: 'x', KUBECONFIG: '' });
  assert.equal(code, 1, log);
});

for (const environment of [{ WEAVE_MTU: '9000' }, { WEFT_BLOCK_PREFIX: '64' }]) {
  const what = Object.entries(environment)
    .map(([name, value]) => `${name}=${value}`)
    .join();
  test(`a new agent with ${what} beside the one at work refuses; that one goes on, no probe is lost`, async (t) => {
    const [from, to] = lab.pods();
    assert.ok(from !== undefined && to !== undefined);
    await lab.endpoint(to);
    const probe = await (await lab.endpoint(from)).startProbe(to.address, { perSecond: 1000 });
    const start = readLength(first);
    const { process: refused } = first.agent.startBeside(environment);
    const said = await condition(() => refusals(first, start)[0], { what: 'the new agent to refuse' });
    await eventFor(first, said);
    await first.agent.ready(); // the status address is the working one's
    await (await first.addPod('meanwhile')).delete();
    await refused.stop();
    const { total } = await settle(probe, []);
    t.diagnostic(`${total.sent} probes sent, ${total.lost} lost`);
    assert.deepEqual({ lost: total.lost, sendErrors: total.sendErrors }, { lost: 0, sendErrors: 0 });
    await first.agent.ready();
  });
}
