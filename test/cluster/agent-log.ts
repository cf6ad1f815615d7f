// The agent's log as an operator reads it: `kubectl logs`, one JSON object a line, checked against the vocabulary of events.
import { EVENTS } from '../../agent/telemetry/event-names.ts';
import { runScript } from '../lab/command.ts';
import type { Cluster } from './cluster.ts';

export interface LogLine {
  readonly time: string;
  readonly level: string;
  readonly role: string;
  readonly event: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

const NAMES: ReadonlySet<string> = new Set(EVENTS.map(([name]) => name));
const LEVELS: ReadonlySet<unknown> = new Set(['trace', 'debug', 'info', 'warn', 'error']);
const ROLES: ReadonlySet<unknown> = new Set(['keeper', 'control', 'dataplane']);

/** Throws at a line that is not as docs/operations/log-events.md says. */
export function parseLog(text: string): readonly LogLine[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const parsed: unknown = line.startsWith('{') ? JSON.parse(line) : undefined;
      if (!isLogLine(parsed)) throw new Error(`The agent wrote a line that is no log event: ${line}`);
      return parsed;
    });
}

function isLogLine(value: unknown): value is LogLine {
  if (typeof value !== 'object' || value === null) return false;
  const { time, level, role, event, msg } = value as Partial<LogLine>; // as: each field is checked here
  return (
    typeof time === 'string' &&
    !Number.isNaN(Date.parse(time)) &&
    LEVELS.has(level) &&
    ROLES.has(role) &&
    typeof event === 'string' &&
    NAMES.has(event) &&
    typeof msg === 'string' &&
    msg !== ''
  );
}

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

export const withEvent = (lines: readonly LogLine[], event: string): readonly LogLine[] =>
  lines.filter((line) => line.event === event);
