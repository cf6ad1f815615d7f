// What becomes of sandboxes' addresses when something dies under a real containerd that is driven by CRI (see cri.test.ts): containerd
// itself in the middle of RunPodSandbox, the agent, the node.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import process from 'node:process';
import { setTimeout as pause } from 'node:timers/promises';

import { until } from '../lab/condition.ts';
import { randomInt, seededRandom, testSeed } from '../support/random.ts';
import { agentLogFiles, withEvent } from './agent-log.ts';
import { agentReady, keepersOf, killAgent } from './agent-processes.ts';
import { allocationsOf, attachmentFacts, linesOn } from './attachment-facts.ts';
import { enterClusterEnclosure } from './cluster.ts';
import { CRI_PROGRAM } from './cri.ts';
import { installWeft } from './install.ts';
import { returnNode } from './node-boot.ts';
import { proxyMode } from './node-programs.ts';
import { type Sandboxes, openSandboxes, refusal } from './sandboxes.ts';
import { createClusterSteps } from './steps.ts';
import { stopwatch } from './stopwatch.ts';

await enterClusterEnclosure({ morePrograms: [CRI_PROGRAM] });

const KILLS = 10;
/** Sandboxes that are being run when containerd is killed. */
const AT_ONCE = 3;
/** A kubelet starts an agent that died after a pause. */
const AGENT_BOUND_MS = 120_000;

const { step, say } = createClusterSteps({ nodes: 1, proxyMode: proxyMode(process.env) });
let sandboxes: Sandboxes;

step('Weft is installed; the kubelet of the node is stopped', async (cluster) => {
  await installWeft(cluster, say);
  sandboxes = await openSandboxes(cluster);
});

const runSeveral = (name: string): Promise<readonly PromiseSettledResult<string>[]> =>
  Promise.allSettled(Array.from({ length: AT_ONCE }, (_, at) => sandboxes.cri.run(`${name}-${at}`)));

/** How long runSeveral takes. */
async function measuredMs(): Promise<number> {
  const start = performance.now();
  await runSeveral('measured');
  const tookMs = performance.now() - start;
  await sandboxes.cri.removeAll();
  return tookMs;
}

step(
  `containerd killed in RunPodSandbox at ${KILLS} random points: no address lost or given twice`,
  async (_, t) => {
    const { node, cri, addressOf, stopAndRemove, noAddressTwice } = sandboxes;
    const seed = testSeed();
    const random = seededRandom(seed); // how far containerd is by then is not of the seed
    t.diagnostic(`WEFT_TEST_SEED=${seed}`);
    const spanMs = Math.min(await measuredMs(), await measuredMs()); // the first one reads files
    const kept = await cri.run('kept');
    const address = await addressOf(kept);
    const outcomes: string[] = [];
    for (let count = 0; count < KILLS; count += 1) {
      const running = runSeveral(`killed-${count}`);
      const afterMs = randomInt(random, Math.ceil(spanMs));
      await pause(afterMs);
      await sandboxes.killRuntime();
      const answered = (await running).filter(({ status }) => status === 'fulfilled').length;
      await sandboxes.resumeRuntime();
      assert.equal(await addressOf(kept), address);
      await noAddressTwice();
      const left = (await cri.list()).filter((id) => id !== kept);
      outcomes.push(`${afterMs} ms ${answered}/${left.length}`);
      // As a kubelet: it removes what is left, and tries the pod again meanwhile.
      const [next] = await Promise.all([cri.run(`next-${count}`), ...left.map(stopAndRemove)]);
      assert.notEqual(await addressOf(next), address);
      await noAddressTwice();
      await stopAndRemove(next);
    }
    t.diagnostic(`killed after (answered/known afterwards, of ${AT_ONCE}): ${outcomes.join(', ')}`);
    assert.equal(await cri.removeAll(), 1);
    // A namespace that containerd had made and not yet written down stays for good; there is no attachment of it.
    const { podNamespaces } = await attachmentFacts(node);
    const { podNamespaces: before } = sandboxes.without();
    const forgotten = podNamespaces.filter((name) => !before.includes(name));
    if (forgotten.length > 0) t.diagnostic(`containerd left ${forgotten.length} namespaces`);
    for (const name of forgotten) await linesOn(node, `ip netns delete ${name}`);
    await sandboxes.nothingLeft();
  },
);

const tombstones = (): readonly string[] =>
  readdirSync(sandboxes.node.path('/var/lib/weft/tombstones')).filter((name) => name.endsWith('.del'));

step('the agent is down: StopPodSandbox succeeds, RunPodSandbox says what to look at', async (_, t) => {
  const { node, cri, addressOf, stopAndRemove } = sandboxes;
  const id = await cri.run('stopped-meanwhile');
  const address = await addressOf(id);
  killAgent(node);
  await until(() => keepersOf(node).length === 0, { what: `the agent of ${node.name} to end` });
  const removed = stopwatch((line) => t.diagnostic(line));
  await stopAndRemove(id);
  removed(`StopPodSandbox and RemovePodSandbox of ${address} done`);
  assert.ok(tombstones().length > 0);
  const refused = stopwatch((line) => t.diagnostic(line));
  const { message } = await refusal(cri.run('refused'));
  refused('RunPodSandbox refused');
  assert.match(
    message,
    /ADD cannot be done now: the Weft agent on this node is not answering at \S+: check `kubectl -n weft get pods -o wide`/,
  );
  assert.deepEqual(await cri.list(), []);
  assert.deepEqual(await linesOn(node, 'ls /run/netns'), sandboxes.without().podNamespaces);
});

step('the agent is back: what it missed is carried out, nothing is left', async () => {
  const { node } = sandboxes;
  sandboxes.resumeKubelet();
  await agentReady(node, AGENT_BOUND_MS);
  await sandboxes.nothingLeft();
  assert.deepEqual(tombstones(), []);
  assert.ok(withEvent(await agentLogFiles(node), 'tombstone_replayed').length > 0);
  await sandboxes.stopKubelet();
});

step('the node reboots: the addresses of its old sandboxes are free', async (cluster, t) => {
  const { node, cri, addressOf, stopAndRemove } = sandboxes;
  const names = ['one', 'other', 'third'];
  const old = await Promise.all(names.map(cri.run));
  const pods = sandboxes.without().allocations.length; // CoreDNS: the kubelet starts it again
  await node.crash();
  await returnNode(cluster, node);
  await agentReady(node, AGENT_BOUND_MS);
  const areOfNewOnly = async (): Promise<boolean> => {
    const allocations = await allocationsOf(node);
    const ids = allocations.map(({ containerId }) => containerId);
    if (ids.length !== pods || ids.some((id) => old.includes(id))) throw new Error(ids.join(' '));
    // Not before: a kubelet that is stopped in RunPodSandbox takes its sandbox with it.
    for (const { containerId, address } of allocations) {
      assert.equal(await addressOf(containerId), address);
    }
    return true;
  };
  await until(areOfNewOnly, { what: 'addresses of new sandboxes only', boundMs: AGENT_BOUND_MS });
  assert.ok(withEvent(await agentLogFiles(node), 'allocations_voided').length > 0);
  await sandboxes.stopKubelet();
  t.diagnostic(`${await cri.removeAll()} of ${old.length} old sandboxes were left for StopPodSandbox`);
  assert.ok(await areOfNewOnly());
  await sandboxes.note();
  const again = await Promise.all(names.map(cri.run));
  assert.equal(new Set(await Promise.all(again.map(addressOf))).size, again.length);
  await sandboxes.noAddressTwice();
  await Promise.all(again.map(stopAndRemove));
  await sandboxes.nothingLeft();
});
