// containerd of a real node driven by CRI as a kubelet drives it: what each method does to a sandbox's address, many at once, and when
// the runtime may take pods.
//
//   go/cri ── RunPodSandbox, … ──▶ containerd ──exec──▶ shim ──▶ agent of node-1      (its kubelet is stopped)
import assert from 'node:assert/strict';
import process from 'node:process';

import { runCommand } from '../lab/command.ts';
import { condition, until } from '../lab/condition.ts';
import { agentReady, agentStatus, keepersOf, killAgent, rolePid } from './agent-processes.ts';
import { allocationsOf, attachmentFacts, linesOn } from './attachment-facts.ts';
import { type Cluster, enterClusterEnclosure } from './cluster.ts';
import { CRI_PROGRAM, type RuntimeCondition } from './cri.ts';
import { inWeft, installWeft } from './install.ts';
import { proxyMode } from './node-programs.ts';
import { type Sandboxes, openSandboxes, refusal } from './sandboxes.ts';
import { createClusterSteps } from './steps.ts';
import { stopwatch } from './stopwatch.ts';

await enterClusterEnclosure({ morePrograms: [CRI_PROGRAM] });

const SANDBOXES = 30;
const AGENT_BOUND_MS = 120_000;
const PING = 'ping -n -q -c 1 -W 5';

const { step, say } = createClusterSteps({ nodes: 1, proxyMode: proxyMode(process.env) });
let sandboxes: Sandboxes;

step('Weft is installed; the kubelet of the node is stopped', async (cluster, t) => {
  await installWeft(cluster, say);
  sandboxes = await openSandboxes(cluster);
  const version = await sandboxes.cri.version();
  t.diagnostic(version);
  assert.match(version, /^containerd v?2\./); // an older one knows no CNI 1.1.0
});

step(
  'RunPodSandbox: the sandbox has the address that PodSandboxStatus and /status/ipam tell',
  async (_, t) => {
    const { node, cri, addressOf } = sandboxes;
    const took = stopwatch((line) => t.diagnostic(line));
    const id = await cri.run('first');
    took('RunPodSandbox');
    const address = await addressOf(id);
    const allocation = (await allocationsOf(node)).find(({ containerId }) => containerId === id);
    assert.equal(allocation?.address, address);
    const page = await agentStatus(node, '/status/ipam');
    assert.match(page, new RegExp(`^${address} +cri-test/first +eth0 +${id.slice(0, 13)}`, 'm'));
    // A block of the node leads to its bridge, the rest of the range to the tunnel.
    assert.match(await runCommand(node.place, ['ip', '-4', 'route', 'get', address]), / dev weave /);
    await runCommand(node.place, [...PING.split(' '), address]);
  },
);

step('RunPodSandbox of the same name again: refused, and the first keeps its address', async () => {
  const { node, cri, addressOf } = sandboxes;
  const [id = ''] = await cri.list();
  const address = await addressOf(id);
  const during = await attachmentFacts(node);
  assert.match((await refusal(cri.run('first'))).message, /failed to reserve sandbox name/);
  assert.deepEqual(await attachmentFacts(node), during);
  assert.deepEqual(await cri.list(), [id]);
  assert.equal(await addressOf(id), address);
  await runCommand(node.place, [...PING.split(' '), address]);
});

step('StopPodSandbox and RemovePodSandbox, each twice: the address is free, nothing is left', async () => {
  const { node, cri, nothingLeft } = sandboxes;
  const [id = ''] = await cri.list();
  for (let times = 0; times < 2; times += 1) await cri.stop(id);
  assert.equal((await cri.status(id)).state, 'SANDBOX_NOTREADY');
  assert.ok((await allocationsOf(node)).every(({ containerId }) => containerId !== id));
  for (let times = 0; times < 2; times += 1) await cri.remove(id);
  assert.equal((await refusal(cri.status(id))).code, 'NotFound');
  await nothingLeft();
});

step(`${SANDBOXES} sandboxes in parallel: ${SANDBOXES} addresses; removed: nothing is left`, async (_, t) => {
  const { node, cri, addressOf, stopAndRemove, nothingLeft } = sandboxes;
  const ran = stopwatch((line) => t.diagnostic(line));
  const ids = await Promise.all(Array.from({ length: SANDBOXES }, (_each, at) => cri.run(`many-${at}`)));
  ran(`RunPodSandbox of ${SANDBOXES} at once`);
  const addresses = await Promise.all(ids.map(addressOf));
  assert.equal(new Set(addresses).size, SANDBOXES);
  await sandboxes.noAddressTwice();
  const allocated = new Map((await allocationsOf(node)).map((each) => [each.containerId, each.address]));
  assert.deepEqual(
    ids.map((id) => allocated.get(id)),
    addresses,
  );
  const removed = stopwatch((line) => t.diagnostic(line));
  await Promise.all(ids.map(stopAndRemove));
  removed(`StopPodSandbox and RemovePodSandbox of ${SANDBOXES} at once`);
  await nothingLeft();
});

/** By the operator's way: the ConfigMap, and new agents. Resolves when the node's file has it. */
async function useCniVersion(cluster: Cluster, version: string): Promise<void> {
  const text = await inWeft(
    cluster,
    'get configmap weft-cni --output',
    String.raw`jsonpath={.data.10-weft\.conflist}`,
  );
  const list = JSON.stringify({ ...(JSON.parse(text) as object), cniVersion: version }); // as: a CNI configuration
  const patch = JSON.stringify({ data: { '10-weft.conflist': list } });
  await inWeft(cluster, 'patch configmap weft-cni --type=merge --patch', patch);
  await inWeft(cluster, 'rollout restart daemonset/weft');
  await inWeft(cluster, 'rollout status daemonset/weft --timeout=120s');
  const written = async (): Promise<boolean> =>
    (await linesOn(sandboxes.node, 'cat /etc/cni/net.d/10-weft.conflist')).join('').includes(`"${version}"`);
  await until(written, { what: `a conflist of version ${version}`, boundMs: AGENT_BOUND_MS });
}

const isReady = async (): Promise<boolean> => (await sandboxes.cri.networkReady()).status === true;
const networkReady = (): Promise<void> =>
  until(isReady, { what: 'NetworkReady to be true', boundMs: AGENT_BOUND_MS });

step('conflist 1.1.0: the runtime asks STATUS, and NetworkReady is true', async (cluster) => {
  sandboxes.resumeKubelet();
  await useCniVersion(cluster, '1.1.0');
  await networkReady();
});

const FAULTS = [
  {
    what: 'the data plane',
    sentence: /the data plane does not run; the log of the agent says why/,
    // Again and again, so that the keeper lets it rest.
    act: ({ node }: Sandboxes): void => {
      const pid = rolePid(node, 'dataplane');
      if (pid !== 0) process.kill(pid, 'SIGABRT');
    },
  },
  {
    what: 'the agent',
    sentence: /STATUS cannot be done now: the Weft agent on this node is not answering/,
    act: ({ node }: Sandboxes): void => {
      if (keepersOf(node).length > 0) killAgent(node);
    },
  },
];

for (const { what, sentence, act } of FAULTS) {
  step(`NetworkReady is false with our reason while ${what} is down, and true again`, async (_, t) => {
    const refused = async (): Promise<RuntimeCondition | undefined> => {
      act(sandboxes);
      const found = await sandboxes.cri.networkReady();
      if (found.status === true) return undefined;
      if (!sentence.test(found.message ?? '')) throw new Error(found.message);
      return found;
    };
    const options = { what: `NetworkReady to be false with ${sentence}`, boundMs: AGENT_BOUND_MS };
    const { reason, message } = await condition(refused, options);
    assert.equal(reason, 'NetworkPluginNotReady');
    t.diagnostic(`${reason}: ${message}`);
    await networkReady();
    await agentReady(sandboxes.node, AGENT_BOUND_MS);
  });
}

step('conflist 1.1.0: sandboxes as before, and nothing is left', async () => {
  const { cri, addressOf, stopAndRemove, stopKubelet, nothingLeft } = sandboxes;
  await stopKubelet();
  const ids = await Promise.all(['one', 'other'].map(cri.run));
  assert.equal(new Set(await Promise.all(ids.map(addressOf))).size, ids.length);
  await sandboxes.noAddressTwice();
  await Promise.all(ids.map(stopAndRemove));
  await nothingLeft();
});
