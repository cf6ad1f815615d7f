// One pod's calls of the plugin, each held against the pod's own namespace and the other pods' addresses; the agent is never believed.
// Throws at the first thing that must not be.
import { createHash } from 'node:crypto';

import { hostInterfaceOf } from '../../../agent/control/cni/attachments.ts';
import { runCommand, tryCommand } from '../command.ts';
import type { LabNode } from '../lab.ts';
import type { CniResult } from '../pod.ts';
import type { Observer } from './observer-client.ts';
import { type ShimCalls, type ShimResult, type Verb, createShimCalls } from './shim-call.ts';
import type { Tally } from './tally.ts';

export interface StormPod {
  readonly containerId: string;
  readonly netns: string;
  readonly hostInterface: string;
  /** What ADD answered; undefined when it failed. */
  attached: { readonly address: string; readonly mac: string; readonly result: object } | undefined;
  /** A worker is at it. */
  busy: boolean;
}

export interface PodCalls {
  readonly calls: ShimCalls;
  /** How many ADDs and CHECKs have succeeded. */
  readonly served: () => number;
  /** Of a pod that has no namespace yet. */
  readonly named: (netns: string) => StormPod;
  readonly makeNamespace: (pod: StormPod) => Promise<void>;
  readonly dropNamespace: (pod: StormPod) => Promise<void>;
  /** ADD. False when it was refused with a CNI error as it may be, or the plugin was killed. */
  readonly attach: (pod: StormPod) => Promise<boolean>;
  /** DEL until the plugin was not killed; its status must be 0. */
  readonly detach: (pod: StormPod) => Promise<void>;
  /** CHECK finds no difference. False when it could not be done now. */
  readonly check: (pod: StormPod) => Promise<boolean>;
  /** GC. False when it could not be done now. */
  readonly collect: (valid: readonly StormPod[]) => Promise<boolean>;
  /** The pod has its interface and its address, and answers. */
  readonly verify: (pod: StormPod) => Promise<void>;
  /** From here on its address may be another's. */
  readonly disown: (pod: StormPod) => void;
}

export interface PodCallsOptions {
  readonly node: LabNode;
  readonly observer: Observer;
  /** Pods by the address that they have, of all nodes. */
  readonly owners: Map<string, StormPod>;
  readonly tally: Tally;
}

const NETWORK = { cniVersion: '1.1.0', name: 'weft', type: 'weft' };
/** The agent is away, or has not claimed its next block yet. */
const TRY_AGAIN = 11;
const PING_TRIES = 3;

export function createPodCalls({ node, observer, owners, tally }: PodCallsOptions): PodCalls {
  const { place } = node.namespace;
  const calls = createShimCalls(node.namespace, observer);
  let served = 0;

  const fail = (what: string, pod: StormPod | undefined, ...facts: readonly unknown[]): never => {
    const words = [pod, ...facts].filter((fact) => fact !== undefined).map((fact) => JSON.stringify(fact));
    throw new Error(`${what} on ${node.name}: ${words.join(' ')}`);
  };

  const call = (command: Verb, pod: StormPod | undefined, config: object = {}): Promise<ShimResult> =>
    calls.run({
      command,
      containerId: pod?.containerId ?? '',
      netns: pod?.netns ?? '',
      config: { ...NETWORK, ...config },
    });

  /** `killed`, or the CNI code of a call that failed. */
  const refusalOf = (result: ShimResult, pod: StormPod | undefined): number | 'killed' => {
    if (result.status === undefined) return 'killed';
    return codeOf(result.stdout) ?? fail('The plugin failed without a CNI error', pod, result);
  };

  const expectTryAgain = (what: string, pod: StormPod | undefined, result: ShimResult): number | 'killed' => {
    const code = refusalOf(result, pod);
    return code === 'killed' || code === TRY_AGAIN ? code : fail(what, pod, result);
  };

  const own = (pod: StormPod, result: CniResult): void => {
    const address = result.ips[0]?.address.split('/')[0];
    const mac = result.interfaces.find(({ sandbox }) => sandbox !== undefined)?.mac;
    if (address === undefined || mac === undefined) {
      return fail('ADD succeeded without address or MAC', pod, result);
    }
    pod.attached = { address, mac, result };
    const other = owners.get(address);
    if (other !== undefined) return fail(`ADD gave ${address}, which another pod has,`, pod, other);
    owners.set(address, pod);
    if (tally.addresses.has(address)) tally.reused.add(address);
    tally.addresses.add(address);
  };

  const ping = async (address: string): Promise<boolean> => {
    for (let tries = 0; tries < PING_TRIES; tries += 1) {
      tally.pings += 1;
      const { status } = await tryCommand(place, ['ping', '-n', '-q', '-c', '1', '-W', '1', address]);
      if (status === 0) return true;
    }
    return false;
  };

  return {
    calls,
    served: () => served,
    named: (netns) => {
      const containerId = createHash('sha256').update(`${node.uid}/${netns}`).digest('hex');
      const hostInterface = hostInterfaceOf({ containerId, interfaceName: 'eth0' });
      return { containerId, netns, hostInterface, attached: undefined, busy: true };
    },
    makeNamespace: async ({ netns }) => void (await runCommand(place, ['ip', 'netns', 'add', netns])),
    dropNamespace: async ({ netns }) => void (await runCommand(place, ['ip', 'netns', 'delete', netns])),
    attach: async (pod) => {
      const result = await call('ADD', pod);
      if (result.status !== 0) {
        const code = String(expectTryAgain('ADD was refused', pod, result));
        tally.refused.set(code, (tally.refused.get(code) ?? 0) + 1);
        return false;
      }
      own(pod, JSON.parse(result.stdout) as CniResult); // as: the plugin's contract
      tally.done.ADD += 1;
      served += 1;
      return true;
    },
    detach: async (pod) => {
      for (;;) {
        const result = await call('DEL', pod);
        if (result.status === 0) break;
        if (result.status !== undefined) fail('DEL failed', pod, result);
      }
      tally.done.DEL += 1;
    },
    check: async (pod) => {
      const result = await call('CHECK', pod, { prevResult: pod.attached?.result });
      if (result.status !== 0) {
        expectTryAgain('CHECK failed', pod, result);
        return false;
      }
      tally.done.CHECK += 1;
      served += 1;
      return true;
    },
    collect: async (valid) => {
      const attachments = valid.map(({ containerId }) => ({ containerID: containerId, ifname: 'eth0' }));
      const result = await call('GC', undefined, { 'cni.dev/valid-attachments': attachments });
      if (result.status !== 0) {
        expectTryAgain('GC failed', undefined, result);
        return false;
      }
      tally.done.GC += 1;
      return true;
    },
    verify: async (pod) => {
      const attached = pod.attached ?? fail('A pod was never attached', pod);
      const view = await observer.look(pod.netns);
      const [link] = view?.interfaces ?? [];
      const isWhole =
        view?.interfaces.length === 1 &&
        link?.name === 'eth0' &&
        link.up &&
        link.mac === attached.mac &&
        view.addresses.length === 1 &&
        view.addresses[0] === attached.address &&
        view.hasDefaultRoute;
      if (!isWhole) fail('A pod is not as ADD answered', pod, view);
      if (!(await ping(attached.address))) fail('A pod does not answer', pod, await observer.view());
    },
    disown: (pod) => {
      const address = pod.attached?.address;
      if (address !== undefined && owners.get(address) === pod) owners.delete(address);
    },
  };
}

/** Undefined where the text is no CNI error. */
function codeOf(stdout: string): number | undefined {
  let error: unknown;
  try {
    error = JSON.parse(stdout);
  } catch {
    return undefined;
  }
  if (typeof error !== 'object' || error === null) return undefined;
  const { cniVersion, code, msg }: Readonly<Record<string, unknown>> = { ...error };
  const isError = typeof cniVersion === 'string' && typeof msg === 'string' && msg !== '';
  return isError && typeof code === 'number' ? code : undefined;
}
