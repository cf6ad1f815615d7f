// `npm run demo`: a cluster in one enclosure, from nothing to every pod reaching every other, through three kills, and away again.
import process from 'node:process';
import { fileURLToPath } from 'node:url';

import { disturb, settle, type Window } from './disturbance.ts';
import { type DemoOptions, HELP, parseDemoOptions } from './demo-options.ts';
import {
  type DemoReport,
  formatKill,
  formatMatrix,
  formatPairs,
  formatThroughput,
  isGood,
} from './demo-report.ts';
import { type View, liveView, plainView, silentView } from './demo-view.ts';
import { LAB_DIRECTORY, enclosingPid, enterEnclosure } from './enclosure.ts';
import { type Lab, createLab } from './lab.ts';
import type { Pod } from './pod.ts';
import { type PairCount, countPairs, pingFrom, tryTransports } from './reachability.ts';
import { measureThroughput } from './throughput.ts';

const THROUGHPUT_TURNS = 3;

async function bringUp(lab: Lab, view: View, options: DemoOptions): Promise<DemoReport['nodes']> {
  const names = Array.from({ length: options.nodes }, (_, index) => `node-${index + 1}`);
  await lab.addNodes(names);
  view.say(`${options.nodes} nodes are ready`);
  for (const [index, node] of lab.nodes.entries()) {
    for (let count = 1; count <= options.pods; count += 1) await node.addPod(`${index + 1}-${count}`);
    view.show('Pods, attached by the CNI plugin', podLines(lab), index === lab.nodes.length - 1);
  }
  const blocks = await lab.api.blocks();
  return lab.nodes.map(({ name, address }) => ({
    name,
    address,
    blocks: blocks.filter((block) => block.spec.node === name).map((block) => block.spec.cidr),
  }));
}

const podLines = (lab: Lab): readonly string[] =>
  lab.nodes.map(({ name, pods }) => `  ${name}  ${pods.map((pod) => pod.address.padEnd(13)).join(' ')}`);

async function pingAll(lab: Lab, view: View): Promise<{ icmp: PairCount; times: readonly number[] }> {
  const pods = lab.pods();
  const names = pods.map((pod) => pod.name);
  const times = new Map<string, number | undefined>();
  const results: { from: Pod; to: Pod; reached: boolean }[] = [];
  const title = 'Ping, milliseconds (the better of two)';
  // One after the other: pings that wait for each other's processes would show the machine's load.
  for (const from of pods) {
    const others = pods.filter((pod) => pod !== from);
    for (const { to, roundTripMs } of await pingFrom(from, others)) {
      times.set(`${from.name} ${to.name}`, roundTripMs);
      results.push({ from, to, reached: roundTripMs !== undefined });
    }
    view.show(title, formatMatrix(names, times), false);
  }
  view.show(title, formatMatrix(names, times), true);
  return { icmp: countPairs(results), times: [...times.values()].filter((time) => time !== undefined) };
}

async function compareThroughput(lab: Lab): Promise<DemoReport['throughput']> {
  const left = await lab.addKernelNode('kernel-1', { block: '10.47.254.0/26', register: false });
  const right = await lab.addKernelNode('kernel-2', { block: '10.47.254.64/26', register: false });
  await Promise.all([left.learn(right), right.learn(left)]);
  const kernelPods = { from: await left.addPod('k-left'), to: await right.addPod('k-right') };
  const weftPods = { from: podOn(lab, 0), to: podOn(lab, 1) };
  let weftGbps = 0;
  let kernelGbps = 0;
  for (let turn = 0; turn < THROUGHPUT_TURNS; turn += 1) {
    kernelGbps += (await measureThroughput({ ...kernelPods, seconds: 1 })) / THROUGHPUT_TURNS;
    weftGbps += (await measureThroughput({ ...weftPods, seconds: 1 })) / THROUGHPUT_TURNS;
  }
  return { weftGbps, kernelGbps, ratio: weftGbps / kernelGbps };
}

function podOn(lab: Lab, nodeIndex: number): Pod {
  const pod = lab.nodes[nodeIndex]?.pods[0];
  if (pod === undefined) throw new Error(`No pod on node ${nodeIndex + 1}`);
  return pod;
}

async function killUnderProbe(lab: Lab): Promise<Pick<DemoReport, 'kills' | 'probe'>> {
  const node = lab.nodes[0];
  if (node === undefined) throw new Error('No nodes');
  const target = podOn(lab, 1);
  await lab.endpoint(target);
  const probe = await (await lab.endpoint(podOn(lab, 0))).startProbe(target.address);
  const windows: Window[] = [];
  for (const role of ['dataplane', 'control'] as const) {
    windows.push(
      await disturb(probe, {
        what: `${role} of ${node.name} killed (-9)`,
        act: () => node.agent.restored(role, node.agent.killRole(role)),
      }),
    );
  }
  windows.push(
    await disturb(probe, {
      what: 'API server killed (-9); a pod attached and detached meanwhile',
      act: async () => {
        await lab.api.kill();
        await (await node.addPod('meanwhile')).delete();
        await lab.api.start();
      },
    }),
  );
  const { total, disturbances } = await settle(probe, windows);
  return {
    kills: disturbances,
    probe: { sent: total.sent, lost: total.lost, duplicates: total.duplicates },
  };
}

async function demonstrate(lab: Lab, view: View, options: DemoOptions): Promise<DemoReport> {
  const start = performance.now();
  const nodes = await bringUp(lab, view, options);
  view.show('Nodes', nodeLines(nodes), true);
  const { icmp, times } = await pingAll(lab, view);
  view.say(formatPairs('ICMP', icmp));
  const transports = await tryTransports(lab, lab.pods());
  view.say(formatPairs('TCP', transports.tcp));
  view.say(formatPairs('UDP, up to the MTU and fragmented above it', transports.udp));
  const throughput = await compareThroughput(lab);
  view.say(`One TCP stream between two nodes: ${formatThroughput(throughput)}`);
  view.say('Killing in turn, under a probe of 1,000 packets/s:');
  const { kills, probe } = await killUnderProbe(lab);
  for (const kill of kills) view.say(`  ${formatKill(kill)}`);
  const sorted = times.toSorted((a, b) => a - b);
  return {
    nodes,
    throughput,
    kills,
    probe,
    pods: lab.pods().map(({ name, nodeName, address }) => ({
      name,
      node: nodeName,
      address,
    })),
    pairs: {
      icmp,
      ...transports,
    },
    roundTripMs: {
      median: sorted[Math.floor(sorted.length / 2)] ?? Number.NaN,
      max: sorted.at(-1) ?? Number.NaN,
    },
    seconds: (performance.now() - start) / 1e3,
  };
}

const nodeLines = (nodes: DemoReport['nodes']): readonly string[] =>
  nodes.map(({ name, address, blocks }) => `  ${name}  ${address.padEnd(14)} blocks ${blocks.join(', ')}`);

const WEFT = fileURLToPath(new URL('../../agent/cli/weft.ts', import.meta.url));

/** The enclosure has no name outside, so the commands enter it through this program's child. */
function lookAroundLines(lab: Lab): readonly string[] {
  const outside = enclosingPid();
  const first = lab.nodes[0];
  const forward = fileURLToPath(new URL('forward.ts', import.meta.url));
  const inNode = `lab nsenter -t ${first?.namespace.pid ?? 0} -n -m`;
  const pod = first?.pods[0];
  return [
    `the live map of ${first?.name ?? 'a node'}, at http://127.0.0.1:6790/map as long as this runs in another terminal, as root:`,
    `  ${process.execPath} --disable-warning=ExperimentalWarning ${forward} ${outside} ${first?.namespace.pid ?? 0}`,
    'In another terminal, as root; paste this line first:',
    `  lab() { u=$(cat /proc/${outside}/task/${outside}/children); nsenter -t $(cat /proc/\${u% }/task/\${u% }/children) -n -m -p "$@"; }`,
    'the cluster:',
    `  lab kubectl --kubeconfig ${LAB_DIRECTORY}/kubeconfig get nodes,peers,addressblocks -o wide`,
    `on ${first?.name ?? 'a node'}:`,
    `  ${inNode} ${process.execPath} ${WEFT} status --watch`,
    `  ${inNode} curl -s http://${first?.address ?? ''}:6782/metrics`,
    `  ${inNode} tcpdump -ni eth0 -T vxlan udp port 6784`,
    `in pod ${pod?.name ?? ''}:`,
    `  ${inNode} nsenter --net=/run/netns/cni-${pod?.name ?? ''} ping ${lab.nodes[1]?.pods[0]?.address ?? ''}`,
    `logs: lab tail -f ${LAB_DIRECTORY}/${first?.name ?? ''}.log`,
    'Ctrl-C here ends it all.',
  ];
}

async function main(): Promise<number> {
  const parsed = parseDemoOptions(process.argv.slice(2));
  if ('help' in parsed) {
    process.stdout.write(HELP);
    return 0;
  }
  if ('refused' in parsed) {
    process.stderr.write(`${parsed.refused}\n`);
    return 2;
  }
  const options = parsed.run;
  await enterEnclosure();
  const view = options.json
    ? silentView
    : process.stdout.isTTY
      ? liveView(process.stdout)
      : plainView((text) => process.stdout.write(text));
  const lab = await createLab();
  try {
    const report = await demonstrate(lab, view, options);
    if (options.json) process.stdout.write(`${JSON.stringify(report)}\n`);
    if (options.keep) {
      for (const line of lookAroundLines(lab)) process.stderr.write(`${line}\n`);
      await new Promise(() => setInterval(() => undefined, 3_600_000)); // ended from outside
    }
    await lab.close();
    view.say(`Cleaned up. Done in ${report.seconds.toFixed(0)} s.`);
    view.say('"npm run demo -- --keep" stays up and says how to look around.');
    return isGood(report) ? 0 : 1;
  } catch (error) {
    process.stderr.write(`${lab.logs()}\n\n${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  }
}

process.exit(await main());
