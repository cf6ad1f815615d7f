// The agent of a lab node: the real keeper with the environment that the DaemonSet would give it, its log in a file, its roles
// found in what the keeper writes.
import process from 'node:process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { type RoleState, readRoleStates } from '../../agent/role-states.ts';
import { runCommand, tryCommand } from './command.ts';
import { condition, until } from './condition.ts';
import { LAB_DIRECTORY } from './enclosure.ts';
import type { NodeNamespace } from './node-namespace.ts';
import { type LabProcess, childrenOf, startProcess } from './process.ts';

/** One for all labs: what was compiled once starts in a third of the time. */
const COMPILE_CACHE = fileURLToPath(new URL('../../node_modules/.cache/weft', import.meta.url));
const KEEPER = fileURLToPath(new URL('../../agent/keeper.ts', import.meta.url));
const STATUS = 'http://127.0.0.1:6784';
const METRICS_PORT = 6782;
const RUN_DIRECTORY = '/run/weft';

export type Role = 'keeper' | 'control' | 'dataplane';
export type AgentEnvironment = Readonly<Record<string, string>>;

/** A new agent on a node whose old one still runs, as in an upgrade. */
export interface NewAgent {
  readonly process: LabProcess;
  /** Resolves when its own pod would be ready: pods can be attached by it. */
  readonly ready: () => Promise<void>;
  /** Stops the old one as the kubelet does; from then on the node's agent is this one. */
  readonly replaceOld: () => Promise<void>;
}

export interface Agent {
  readonly logFile: string;
  readonly running: () => boolean;
  /** Starts the keeper; `ready` tells when it serves. */
  readonly start: (environment?: AgentEnvironment) => void;
  /** As start, for an agent that is expected to refuse: its exit code and what it logged. */
  readonly startAndEnd: (environment: AgentEnvironment) => Promise<{ code: number | null; log: string }>;
  readonly startBeside: (environment?: AgentEnvironment) => NewAgent;
  readonly stop: () => Promise<void>;
  /** kill -9 of the keeper, whose roles end with it. */
  readonly kill: () => Promise<void>;
  /** Resolves when /readyz answers 200. */
  readonly ready: (boundMs?: number) => Promise<void>;
  /** Process id of the role that is active now; 0 when there is none. */
  readonly pidOf: (role: Role) => number;
  /** Process ids of the data plane's workers by number, 0 where there is none at the moment; and of the processes that wait for a turn. */
  readonly dataplanes: () => { readonly workers: readonly number[]; readonly spares: readonly number[] };
  /** kill -9; returns the id that was killed. */
  readonly killRole: (role: Role) => number;
  /** Resolves when another process than `pid` is the active one of the role, and, for control, serves again. */
  readonly restored: (role: Role, pid: number) => Promise<void>;
  /** GET on the status address inside the node. Throws for any status but 200. */
  readonly status: (path: string) => Promise<string>;
  readonly metrics: () => Promise<string>;
}

export function createAgent(node: NodeNamespace, kubeconfig: string): Agent {
  const logFile = `${LAB_DIRECTORY}/${node.name}.log`;
  let keeper: LabProcess | undefined;
  let launches = 0;
  const launch = (environment: AgentEnvironment): LabProcess =>
    startProcess({
      place: node.place,
      command: [process.execPath, '--disable-warning=ExperimentalWarning', KEEPER],
      env: {
        HOSTNAME: node.name,
        WEFT_NODE_IP: node.address,
        KUBECONFIG: kubeconfig,
        IPALLOC_RANGE: '10.32.0.0/12',
        NODE_COMPILE_CACHE: COMPILE_CACHE,
        ...environment,
      },
      logFile,
    });
  const stateOf = (role: Role): RoleState | undefined =>
    readRoleStates(node.path(`${RUN_DIRECTORY}/roles.json`)).find((state) => state.role === role);
  const pidOf = (role: Role): number =>
    role === 'keeper' ? (keeper?.running() === true ? keeper.pid : 0) : (stateOf(role)?.pid ?? 0);
  const curl = (url: string): readonly string[] => [
    'curl',
    '--silent',
    '--show-error',
    '--fail',
    '--max-time',
    '5',
    url,
  ];
  const isReady = async (): Promise<boolean> =>
    (await tryCommand(node.place, curl(`${STATUS}/readyz`))).status === 0;
  return {
    logFile,
    running: () => keeper?.running() ?? false,
    start: (environment = {}) => {
      keeper = launch(environment);
    },
    startAndEnd: async (environment) => {
      const before = readLog(logFile).length;
      const { code } = await launch(environment).ended;
      return { code, log: readLog(logFile).slice(before) };
    },
    startBeside: (environment = {}) => {
      const readyFile = `${RUN_DIRECTORY}/ready-${(launches += 1)}`;
      const launched = launch({ WEFT_READY_FILE: readyFile, ...environment });
      const isMarked = (): boolean => {
        if (!launched.running()) throw new Error(`The new agent of "${node.name}" has ended`);
        return existsSync(node.path(readyFile));
      };
      return {
        process: launched,
        ready: () => until(isMarked, { what: `the new agent of "${node.name}" to be ready` }),
        replaceOld: async () => {
          const old = keeper;
          keeper = launched;
          await old?.stop();
        },
      };
    },
    stop: async () => {
      await keeper?.stop();
    },
    kill: async () => {
      await keeper?.kill();
    },
    // Long enough for a machine of two processors that does ten other things.
    ready: (boundMs = 60_000) =>
      until(
        async () => {
          if (keeper?.running() === false) throw new Error(`The agent of "${node.name}" has ended`);
          return isReady();
        },
        { what: `the agent of "${node.name}" to be ready`, boundMs },
      ),
    pidOf,
    dataplanes: () => {
      const state = stateOf('dataplane');
      const workers = state?.pids ?? [state?.pid ?? 0];
      const all = childrenOf(pidOf('keeper')).filter(({ command }) => command.includes('dataplane/main.ts'));
      return { workers, spares: all.map(({ pid }) => pid).filter((pid) => !workers.includes(pid)) };
    },
    killRole: (role) => {
      const pid = pidOf(role);
      if (pid === 0) throw new Error(`No ${role} runs on "${node.name}"`);
      process.kill(pid, 'SIGKILL');
      return pid;
    },
    restored: async (role, killed) => {
      await condition(
        () => {
          const pid = pidOf(role);
          return pid !== 0 && pid !== killed ? pid : undefined;
        },
        { what: `another ${role} on "${node.name}"`, intervalMs: 1 },
      );
      if (role === 'control') await until(isReady, { what: `control of "${node.name}" to serve again` });
    },
    status: (path) => runCommand(node.place, curl(`${STATUS}${path}`)),
    metrics: () => runCommand(node.place, curl(`http://${node.address}:${METRICS_PORT}/metrics`)),
  };
}

function readLog(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
