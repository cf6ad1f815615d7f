// `weft` as operators call it on a real cluster: by kubectl exec in the agent's container, with its rights and nothing else (CAP_NET_ADMIN, a
// read-only root, no shell). A healthy node has no finding, kube-proxy's rules and containerd's included; faults are found and fixed
// by the commands that are printed.
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';

import { type CommandResult, ENCLOSURE, runCommand, tryCommand } from '../lab/command.ts';
import { until } from '../lab/condition.ts';
import { type Cluster, TOOLS, enterClusterEnclosure } from './cluster.ts';
import type { ClusterNode } from './cluster-node.ts';
import { inWeft, installWeft } from './install.ts';
import { proxyMode } from './node-programs.ts';
import { createClusterSteps } from './steps.ts';
import {
  type ClusterPod,
  PORT,
  ask,
  deployWorkload,
  repeat,
  serviceAddress,
  workloadPods,
} from './workload.ts';

await enterClusterEnclosure();

const NODES = 3;
const PODS = 6;
const WELL = 0;
const FOUND = 1;
const REPORT_BYTES = 1_000_000;

const { step, say } = createClusterSteps({ nodes: NODES, proxyMode: proxyMode(process.env) });

/** Runs it in the agent of a node. */
async function weft(cluster: Cluster, node: string, words: string): Promise<CommandResult> {
  const agents = `get pods --selector app.kubernetes.io/name=weft --field-selector spec.nodeName=${node} --output name`;
  const agent = (await inWeft(cluster, agents)).trim();
  const exec = ['--namespace', 'weft', 'exec', agent, '--container', 'agent', '--', 'weft'];
  return tryCommand(ENCLOSURE, [...cluster.controlPlane.kubectl, ...exec, ...words.split(' ')]);
}

/** Its output. Throws when its exit status is another. */
async function told(
  cluster: Cluster,
  node: string,
  { words, status = WELL }: { words: string; status?: number },
): Promise<string> {
  const result = await weft(cluster, node, words);
  assert.equal(result.status, status, `weft ${words} on ${node}: ${JSON.stringify(result)}`);
  return result.stdout;
}

/** Waits until the doctor finds nothing. */
const awaitHealth = (cluster: Cluster, node: string): Promise<void> =>
  until(
    async () => {
      const { status, stdout } = await weft(cluster, node, 'doctor');
      if (status !== WELL) say(`weft doctor on ${node}: ${stdout}`);
      if (status !== WELL) throw new Error(stdout);
      return true;
    },
    { what: `weft doctor to find nothing on ${node}`, boundMs: 60_000, intervalMs: 1000 },
  );

interface Diagnosis {
  readonly findings: readonly { readonly check: string; readonly what: string; readonly fix: string }[];
}

/** Waits until the doctor names the fault; resolves to the command that fixes it, as it is told. */
async function awaitRemedy(
  cluster: Cluster,
  node: string,
  { check, what }: { check: string; what: RegExp },
): Promise<string> {
  let remedy: string | undefined;
  await until(
    async () => {
      const { stdout } = await weft(cluster, node, 'doctor --output json');
      const { findings } = JSON.parse(stdout) as Diagnosis; // as: our own program's
      remedy = findings.find((finding) => finding.check === check && what.test(finding.what))?.fix;
      if (remedy === undefined) throw new Error(stdout);
      return true;
    },
    { what: `weft doctor to find ${check} on ${node}`, boundMs: 30_000, intervalMs: 1000 },
  );
  const [command = ''] = (remedy ?? '').split(/; and |: its/);
  return command;
}

const [first, second] = ['node-1', 'node-2'] as const;
let pods: readonly ClusterPod[];
const podOn = (name: string): ClusterPod => pods.find(({ node }) => node === name)!; // !: they are spread over the nodes
const nodeCalled = (cluster: Cluster, wanted: string): ClusterNode =>
  cluster.nodes.find(({ name }) => name === wanted)!; // !: named by the cluster

/** One pod asks the other until then. */
async function talkUntil(
  cluster: Cluster,
  { from, to, done }: { from: ClusterPod; to: ClusterPod; done: Promise<unknown> },
): Promise<void> {
  const over = done.then(
    () => true,
    () => true,
  );
  const once = async (): Promise<boolean> => {
    await ask(cluster, from, repeat(`${to.address}:${PORT}`, 5));
    return false;
  };
  while (!(await Promise.race([over, once()])));
}

step('weft status and weft doctor on healthy nodes: well, and nothing found', async (cluster) => {
  await installWeft(cluster, say);
  await deployWorkload(cluster, PODS);
  pods = await workloadPods(cluster);
  for (const { name } of cluster.nodes) {
    await awaitHealth(cluster, name);
    assert.match(await told(cluster, name, { words: 'status' }), new RegExp(`^${name} is well: `));
    const { address, name: pod } = podOn(name);
    assert.match(await told(cluster, name, { words: `ipam ${address}` }), new RegExp(`default/${pod}`));
  }
  for (const table of ['peers', 'connections', 'ipam', 'attachments', 'peers -o yaml', 'peers -o json'])
    assert.notEqual(await told(cluster, first, { words: `status ${table}` }), '', table);
  assert.match(await told(cluster, first, { words: 'version' }), /weft (\S+)\nagent \1\n/);
});

step(
  'weft ping and weft trace: a node, a pod of another one, a Service, an address of nobody',
  async (cluster) => {
    const [here, there] = [podOn(first), podOn(second)];
    assert.match(await told(cluster, first, { words: `ping ${second} --count 2` }), /node-2 answers\.\n$/);
    const pinged = await told(cluster, first, { words: `ping ${there.address} --count 2` });
    assert.match(pinged, /pod +\S+ +2 sent, 2 answered/);

    const sent = await told(cluster, first, {
      words: `trace default/${here.name} ${there.address} --port 8080`,
    });
    assert.match(sent, /kube-proxy|KUBE/i, "others' chains are walked");
    assert.match(sent, /=> sent to node-2;/);
    assert.doesNotMatch(sent, /perhaps|is not ours/);
    const arrived = await told(cluster, second, { words: `trace ${here.address} ${there.address}` });
    assert.match(arrived, new RegExp(`=> delivered here: to default/${there.name}`));
    const service = await serviceAddress(cluster);
    const chosen = await told(cluster, first, { words: `trace ${here.address} ${service} --port 80` });
    assert.match(chosen, new RegExp(`=> goes to one of the endpoints of ${service}`));
    const nobody = await told(cluster, first, { words: `trace ${here.address} 10.47.255.9`, status: FOUND });
    assert.match(nobody, /egress_no_owner/);
  },
);

step('weft capture: lines, and a file that tcpdump reads, while pods talk', async (cluster, context) => {
  const [here, there] = [podOn(first), podOn(second)];
  const filter = `capture --inner --host ${there.address} --seconds 20`;
  const lines = told(cluster, first, { words: `${filter} --count 5` });
  await talkUntil(cluster, { from: here, to: there, done: lines });
  const captured = (await lines).trim().split('\n');
  assert.equal(captured.length, 5);
  for (const line of captured) assert.match(line, / inner (in|out) +node-2 \| .* tcp /);

  const agents = `get pods --selector app.kubernetes.io/name=weft --field-selector spec.nodeName=${first} --output name`;
  const agent = (await inWeft(cluster, agents)).trim();
  const file = join('/run', 'inner.pcapng');
  const exec = `${cluster.controlPlane.kubectl.join(' ')} --namespace weft exec ${agent} --container agent`;
  const written = runCommand(ENCLOSURE, [
    'sh',
    '-c',
    `${exec} -- weft ${filter} --count 20 --write - >${file}`,
  ]);
  await talkUntil(cluster, { from: here, to: there, done: written });
  await written;
  const read = await runCommand(ENCLOSURE, ['tcpdump', '-nr', file]);
  assert.equal(read.trim().split('\n').length, 20);
  context.diagnostic(`first captured packet: ${read.split('\n')[0]}`);
});

step('weft report: everything there, below 1 MB, no credential', async (cluster, context) => {
  const text = await told(cluster, first, { words: 'report' });
  const report = JSON.parse(text) as { readonly missing: object; readonly nftables: object }; // as: our own program's
  assert.deepEqual(report.missing, {});
  assert.deepEqual(Object.keys(report.nftables).sort(), ['bridge', 'inet']);
  assert.ok(text.length < REPORT_BYTES);
  assert.doesNotMatch(text, /eyJ[\w-]{20}|-----BEGIN|Bearer/);
  context.diagnostic(`report: ${(text.length / 1000).toFixed(0)} kB`);
});

step(
  "a firewall that drops the tunnel one way: named on its node, fixed by the doctor's command",
  async (cluster) => {
    const { place } = nodeCalled(cluster, second);
    const table = 'add table inet corp; add chain inet corp in { type filter hook input priority 0; }';
    await runCommand(place, ['nft', `${table}; add rule inet corp in udp dport 6784 counter drop`]);
    const words = `trace ${podOn(first).address} ${podOn(second).address}`;
    const traced = await told(cluster, second, { words, status: FOUND });
    assert.match(traced, /✗ nftables, outer.*inet corp in \(input\): rule \d+ drops it: udp dport 6784/);
    const fix = await awaitRemedy(cluster, second, { check: 'foreign_rules', what: /chain "inet corp in"/ });
    await awaitRemedy(cluster, first, {
      check: 'peer_unreachable',
      what: /the way from here to it is blocked/,
    });
    assert.match(await told(cluster, first, { words: 'status', status: FOUND }), /node-2/);
    await runCommand(place, ['sh', '-c', fix]);
    for (const node of [first, second]) await awaitHealth(cluster, node);
  },
);

step('the CNI plugin deleted: the remedy is typed as it stands', async (cluster) => {
  const { place } = nodeCalled(cluster, first);
  await runCommand(place, ['rm', '/opt/cni/bin/weft']);
  const fix = await awaitRemedy(cluster, first, { check: 'cni', what: /CNI plugin .* is missing/ });
  await runCommand(ENCLOSURE, ['sh', '-c', fix], { env: { PATH: `${TOOLS}:/usr/sbin:/usr/bin:/sbin:/bin` } });
  await inWeft(cluster, 'rollout status daemonset/weft --timeout=120s');
  await awaitHealth(cluster, first);
});

step(
  'a setting that cannot be used: one finding, in the pod that waits; the old agent goes on',
  async (cluster) => {
    const set = async (range: string): Promise<void> => {
      const patch = JSON.stringify({ data: { IPALLOC_RANGE: range } });
      await inWeft(cluster, 'patch configmap weft --type=merge --patch', patch);
      await inWeft(cluster, 'rollout restart daemonset/weft');
    };
    await set('10.32.0.0/40');
    let waiting = '';
    await until(
      async () => {
        const all = await inWeft(cluster, 'get pods --no-headers');
        waiting =
          all
            .split('\n')
            .find((line) => / 0\/1 +Running /.test(line))
            ?.split(' ')[0] ?? '';
        return waiting !== '';
      },
      { what: 'a pod of the new revision that waits', boundMs: 60_000, intervalMs: 500 },
    );
    const exec = ['--namespace', 'weft', 'exec', waiting, '--container', 'agent', '--', 'weft', 'doctor'];
    const { stdout } = await tryCommand(ENCLOSURE, [...cluster.controlPlane.kubectl, ...exec]);
    assert.match(stdout, /IPALLOC_RANGE: "10\.32\.0\.0\/40"[^]* 1 finding in /);
    await set('10.32.0.0/12');
    await inWeft(cluster, 'rollout status daemonset/weft --timeout=180s');
    for (const { name } of cluster.nodes) await awaitHealth(cluster, name);
    rmSync('/run/inner.pcapng', { force: true });
  },
);
