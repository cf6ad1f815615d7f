// The agent's log as an operator reads it: `kubectl logs`, one JSON object a line, each checked against the closed lists (log-line.ts).
import { runScript } from '../lab/command.ts';
import { type LogLine, parseLog } from '../support/log-line.ts';
import type { Cluster } from './cluster.ts';

export { type LogLine, parseLog, withEvent } from '../support/log-line.ts';

/** By `kubectl logs`: of the agent that runs on a node now. */
export async function agentLog(cluster: Cluster, node: string): Promise<readonly LogLine[]> {
  const namespace = ['--namespace', 'weft'];
  const select = `get pods --field-selector=spec.nodeName=${node} --output=name`.split(' ');
  const [pod = ''] = (await cluster.kubectl([...namespace, ...select])).trim().split('\n');
  return parseLog(await cluster.kubectl([...namespace, 'logs', pod, '--container', 'agent']));
}

/** By the node's files: without the API server, and of all agents that ran there. */
export async function agentLogFiles(node: Cluster['nodes'][number]): Promise<readonly LogLine[]> {
  // As the container runtime writes it: TIME STREAM TAG TEXT.
  const text = await runScript(node.place, ['cat /var/log/pods/weft_weft-*/agent/*.log | cut -d " " -f 4-']);
  return parseLog(text);
}
