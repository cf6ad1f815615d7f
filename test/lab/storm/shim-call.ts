// One execution of the plugin whose process id is known while it runs, so that it can be killed, and the calls of a node with their times:
// what had no answer when a kill came is found among them.
import { spawnIn } from '../command.ts';
import type { NodeNamespace } from '../node-namespace.ts';
import { SHIM } from '../pod.ts';
import type { Observer } from './observer-client.ts';
import { nowUs } from './protocol.ts';

export type Verb = 'ADD' | 'DEL' | 'CHECK' | 'GC';

export interface ShimResult {
  /** Undefined: it was killed. */
  readonly status: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ShimCall {
  readonly command: Verb;
  readonly containerId: string;
  /** Name of the pod's namespace. */
  readonly netns: string;
  readonly pid: number;
  readonly sentUs: number;
  /** Undefined while it runs. */
  ended: { readonly atUs: number; readonly result: ShimResult } | undefined;
  readonly result: Promise<ShimResult>;
}

export interface ShimCalls {
  readonly run: (call: {
    command: Verb;
    containerId: string;
    netns: string;
    config: object;
  }) => Promise<ShimResult>;
  /** Those that ran at the time. Forgets what ended before it. */
  readonly runningAt: (atUs: number) => readonly ShimCall[];
}

export function createShimCalls(node: NodeNamespace, observer: Pick<Observer, 'note'>): ShimCalls {
  let calls: readonly ShimCall[] = [];
  return {
    run: ({ command, containerId, netns, config }) => {
      const env = {
        CNI_COMMAND: command,
        CNI_PATH: '/opt/cni/bin',
        ...(command === 'GC'
          ? {}
          : { CNI_CONTAINERID: containerId, CNI_NETNS: `/run/netns/${netns}`, CNI_IFNAME: 'eth0' }),
      };
      const child = spawnIn(node.place, [SHIM], { stdio: 'pipe', env });
      const pid = child.pid ?? -1;
      const sentUs = nowUs();
      observer.note({ note: 'sent', pid });
      const output = { stdout: '', stderr: '' };
      child.stdout?.setEncoding('utf8').on('data', (text: string) => (output.stdout += text));
      child.stderr?.setEncoding('utf8').on('data', (text: string) => (output.stderr += text));
      child.stdin?.on('error', () => undefined); // it was killed
      child.stdin?.end(JSON.stringify(config));
      const result = new Promise<ShimResult>((resolve, reject) => {
        child.on('error', reject);
        child.on('exit', () => observer.note({ note: 'answered', pid }));
        child.on('close', (code) => {
          const ended: ShimResult = { status: code ?? undefined, ...output };
          call.ended = { atUs: nowUs(), result: ended };
          resolve(ended);
        });
      });
      const call: ShimCall = { command, containerId, netns, pid, sentUs, ended: undefined, result };
      calls = [...calls, call];
      return result;
    },
    runningAt: (atUs) => {
      calls = calls.filter(({ ended }) => ended === undefined || ended.atUs > atUs);
      return calls.filter(({ sentUs }) => sentUs < atUs);
    },
  };
}
