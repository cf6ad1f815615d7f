// Attachments as a container runtime makes them: the plugin is exec'd in the node for each ADD and DEL, some at once or one by one. An
// answer with code 11 is tried again, as the runtime does, and is part of the attachment's time.
import { createHash } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';

import { type Place, tryCommand } from '../test/lab/command.ts';
import type { Sandbox } from '../test/lab/pod.ts';

export interface Plugin {
  readonly name: string;
  readonly place: Place;
  readonly program: string;
  /** CNI_PATH. */
  readonly path: string;
  /** For stdin. */
  readonly config: string;
  readonly sandboxes: readonly Sandbox[];
}

export interface Storm {
  /** From the first exec to the last answer. */
  readonly addedMs: number;
  readonly deletedMs: number;
  readonly addMs: readonly number[];
  readonly deleteMs: readonly number[];
  /** ADDs that were told to try again. */
  readonly retries: number;
}

const TRY_AGAIN = 11;
const RETRY_MS = 100;
const MOST_TRIES = 300;

interface Call {
  readonly command: 'ADD' | 'DEL';
  readonly sandbox: Sandbox;
  /** Another container in the same namespace each cycle. */
  readonly cycle: number;
}

interface Timed {
  readonly spentMs: number;
  readonly retries: number;
}

export const cniEnvironment = (
  plugin: Plugin,
  { command, sandbox, cycle }: Call,
): Readonly<Record<string, string>> => ({
  CNI_COMMAND: command,
  CNI_CONTAINERID: createHash('sha256').update(`${sandbox.containerId} ${cycle}`).digest('hex'),
  CNI_NETNS: sandbox.netnsPath,
  CNI_IFNAME: 'eth0',
  CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${sandbox.podName}`,
  CNI_PATH: plugin.path,
});

async function call(plugin: Plugin, request: Call): Promise<Timed> {
  const env = cniEnvironment(plugin, request);
  const start = performance.now();
  for (let retries = 0; ; retries++) {
    const { status, stdout, stderr } = await tryCommand(plugin.place, [plugin.program], {
      stdin: plugin.config,
      env,
    });
    if (status === 0) return { spentMs: performance.now() - start, retries };
    if (retries === MOST_TRIES || !stdout.includes(`"code":${TRY_AGAIN}`)) {
      const { command, sandbox } = request;
      throw new Error(`${command} of "${sandbox.podName}" with ${plugin.name} failed: ${stdout}${stderr}`);
    }
    await pause(RETRY_MS);
  }
}

async function all(
  plugin: Plugin,
  options: { command: 'ADD' | 'DEL'; atOnce: number; cycle: number },
): Promise<readonly Timed[]> {
  const { atOnce, ...rest } = options;
  const waiting = [...plugin.sandboxes];
  const times: Timed[] = [];
  const work = async (): Promise<void> => {
    for (let sandbox = waiting.shift(); sandbox !== undefined; sandbox = waiting.shift()) {
      times.push(await call(plugin, { ...rest, sandbox }));
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  return times;
}

/** Every sandbox is attached, then every one is detached. */
export async function runStorm(plugin: Plugin, options: { atOnce: number; cycle: number }): Promise<Storm> {
  const start = performance.now();
  const added = await all(plugin, { command: 'ADD', ...options });
  const middle = performance.now();
  const deleted = await all(plugin, { command: 'DEL', ...options });
  return {
    addedMs: middle - start,
    deletedMs: performance.now() - middle,
    addMs: added.map(({ spentMs }) => spentMs),
    deleteMs: deleted.map(({ spentMs }) => spentMs),
    retries: added.reduce((sum, { retries }) => sum + retries, 0),
  };
}

export interface AloneTimes {
  readonly addMs: number[];
  readonly deleteMs: number[];
  /** What exec itself takes in the node, with the same pipes, in turns with the others: /bin/true, linked dynamically. */
  readonly startMs: number[];
  /** Of each ADD, as the agent tells it; empty without `insideSeconds`. */
  readonly insideMs: number[];
}

export const noTimes = (): AloneTimes => ({ addMs: [], deleteMs: [], startMs: [], insideMs: [] });

/** One at a time, each detached at once; adds to `times`. `insideSeconds`: total of all ADDs so far by the agent's own clock. */
export async function runAlone(
  plugin: Plugin,
  {
    from,
    to,
    times,
    insideSeconds,
  }: { from: number; to: number; times: AloneTimes; insideSeconds?: () => Promise<number> },
): Promise<void> {
  let inside = await insideSeconds?.();
  for (const sandbox of plugin.sandboxes.slice(from, to)) {
    times.addMs.push((await call(plugin, { command: 'ADD', sandbox, cycle: -1 })).spentMs);
    if (insideSeconds !== undefined && inside !== undefined) {
      const before = inside;
      inside = await insideSeconds();
      times.insideMs.push((inside - before) * 1000);
    }
    times.deleteMs.push((await call(plugin, { command: 'DEL', sandbox, cycle: -1 })).spentMs);
    const start = performance.now();
    await tryCommand(plugin.place, ['/bin/true'], { stdin: plugin.config });
    times.startMs.push(performance.now() - start);
  }
}
