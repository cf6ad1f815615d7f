// The agent's processes on a node as the enclosure sees them: found by what runs there, so it needs neither the API nor the agent's help.
// The keeper's roles.json has the numbers of the container's process namespace; /proc/<pid>/status has both.
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import process from 'node:process';

import { readRoleStates } from '../../agent/role-states.ts';
import { runCommand, tryCommand } from '../lab/command.ts';
import { condition, until } from '../lab/condition.ts';
import { childrenOf } from '../lab/process.ts';
import type { ClusterNode } from './cluster-node.ts';

const KEEPER = '/opt/weft/agent/keeper.js';
const STATUS = 'http://127.0.0.1:6784';

export type AgentRole = 'control' | 'dataplane';

const readOr = <T>(read: () => T, otherwise: T): T => {
  try {
    return read();
  } catch {
    return otherwise; // it has ended
  }
};

const namespaceOf = (pid: number, kind: 'net' | 'pid'): string =>
  readOr(() => readlinkSync(`/proc/${pid}/ns/${kind}`), '');

const processes = (): readonly number[] =>
  readdirSync('/proc')
    .map(Number)
    .filter((pid) => pid > 0);

/** The keepers on a node; two while one agent hands over to the next. */
export const keepersOf = (node: ClusterNode): readonly number[] =>
  processes().filter((pid) => {
    const [, script = ''] = readOr(() => readFileSync(`/proc/${pid}/cmdline`, 'utf8'), '').split('\0');
    return script === KEEPER && namespaceOf(pid, 'net') === namespaceOf(node.pid, 'net');
  });

/** Everything that runs in the container of a keeper, itself too. */
export const containerOf = (keeper: number): readonly number[] => {
  const namespace = namespaceOf(keeper, 'pid');
  return namespace === '' ? [] : processes().filter((pid) => namespaceOf(pid, 'pid') === namespace);
};

const innerPid = (pid: number): number =>
  Number(
    readOr(() => /^NSpid:.*\s(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1], undefined) ?? 0,
  );

/** The process that has the role's turn, or 0. */
export function rolePid(node: ClusterNode, role: AgentRole): number {
  const state = readRoleStates(node.path('/run/weft/roles.json')).find((each) => each.role === role);
  if (state === undefined || state.pid === 0) return 0;
  const children = keepersOf(node).flatMap((keeper) => childrenOf(keeper));
  return (
    children.find(({ pid, command }) => command.includes(`/${role}/`) && innerPid(pid) === state.pid)?.pid ??
    0
  );
}

/** kill -9 of the process that has the role's turn; resolves when another has it, and, for control, the agent is ready again. */
export async function killRole(node: ClusterNode, role: AgentRole): Promise<void> {
  const killed = await condition(() => rolePid(node, role) || undefined, { what: `${role} on ${node.name}` });
  process.kill(killed, 'SIGKILL');
  await until(() => ![0, killed].includes(rolePid(node, role)), {
    what: `another ${role} than process ${killed} on ${node.name}`,
    intervalMs: 1,
  });
  if (role === 'control') await agentReady(node);
}

/** kill -9 of everything in the agent's container. */
export function killAgent(node: ClusterNode): void {
  const keepers = keepersOf(node);
  if (keepers.length === 0) throw new Error(`No agent runs on ${node.name}`);
  for (const pid of keepers.flatMap(containerOf)) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // the kernel ends them all with the first process
    }
  }
}

const curl = (path: string): readonly string[] => [
  ...'curl -sSf --max-time 5'.split(' '),
  `${STATUS}${path}`,
];

export const agentReady = (node: ClusterNode, boundMs = 60_000): Promise<void> =>
  until(async () => (await tryCommand(node.place, curl('/readyz'))).status === 0, {
    what: `the agent of ${node.name} to be ready`,
    boundMs,
  });

/** A page of the agent's status server. */
export const agentStatus = (node: ClusterNode, path: string): Promise<string> =>
  runCommand(node.place, curl(path));

/** Number of the TUN on its node: another one when it was closed in between. */
export const tunIndex = async (node: ClusterNode): Promise<number> =>
  Number.parseInt(await runCommand(node.place, ['ip', '-o', 'link', 'show', 'weft0']), 10);
