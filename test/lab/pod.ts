// Pods: a network namespace in a node, attached the way a container runtime does it: the CNI plugin is exec'd in the node with the
// CNI environment, the network configuration on stdin, and its result is read from stdout (CNI specification 1.0.0, section 2).
import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';

import {
  type CommandOptions,
  type CommandResult,
  type Place,
  onCore,
  placeOfNetns,
  runCommand,
  tryCommand,
} from './command.ts';
import type { NodeNamespace } from './node-namespace.ts';

export const SHIM: string = fileURLToPath(new URL('../../cni-shim/build/weft', import.meta.url));

export const NETWORK_CONFIG: Readonly<Record<string, unknown>> = {
  cniVersion: '1.0.0',
  name: 'weft',
  type: 'weft',
};

export interface CniInterface {
  readonly name: string;
  readonly mac?: string;
  readonly mtu?: number;
  readonly sandbox?: string;
}

export interface CniResult {
  readonly cniVersion: string;
  readonly interfaces: readonly CniInterface[];
  readonly ips: readonly {
    readonly address: string;
    readonly gateway?: string;
    readonly interface?: number;
  }[];
  readonly routes?: readonly { readonly dst: string; readonly gw?: string }[];
}

export interface Pod {
  readonly name: string;
  readonly nodeName: string;
  readonly place: Place;
  /** IPv4 address without prefix length. */
  readonly address: string;
  readonly exec: (command: readonly string[], options?: CommandOptions) => Promise<string>;
  readonly tryExec: (command: readonly string[], options?: CommandOptions) => Promise<CommandResult>;
  /** Detaches it (DEL) and removes its namespace. */
  readonly delete: () => Promise<void>;
}

export interface Sandbox {
  readonly podName: string;
  readonly containerId: string;
  readonly netnsPath: string;
  readonly place: Place;
  readonly remove: () => Promise<void>;
}

/** The namespace that a runtime makes before it calls the plugin. */
export async function createSandbox(node: NodeNamespace, podName: string): Promise<Sandbox> {
  const containerId = createHash('sha256').update(`${node.name}/${podName}`).digest('hex');
  const netns = `cni-${podName}`;
  await runCommand(node.place, ['ip', 'netns', 'add', netns]);
  return {
    podName,
    containerId,
    netnsPath: `/run/netns/${netns}`,
    place: onCore(placeOfNetns(`${podName}.${node.name}`, node.pid, netns), node.core),
    remove: async () => {
      await runCommand(node.place, ['ip', 'netns', 'delete', netns]);
    },
  };
}

export type CniCommand = 'ADD' | 'DEL' | 'CHECK' | 'VERSION' | 'STATUS' | 'GC';

/** Execs the shim for a sandbox and returns its exit status and output as they are. */
export const tryCni = (
  node: NodeNamespace,
  { sandbox, command, config = NETWORK_CONFIG }: { sandbox: Sandbox; command: CniCommand; config?: object },
): Promise<CommandResult> =>
  tryCommand(node.place, [SHIM], {
    stdin: JSON.stringify(config),
    env: {
      CNI_COMMAND: command,
      CNI_CONTAINERID: sandbox.containerId,
      CNI_NETNS: sandbox.netnsPath,
      CNI_IFNAME: 'eth0',
      CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${sandbox.podName};K8S_POD_INFRA_CONTAINER_ID=${sandbox.containerId}`,
      CNI_PATH: '/opt/cni/bin',
    },
  });

/** As tryCni; throws with the plugin's error object when it fails. */
export async function runCni(
  node: NodeNamespace,
  request: { sandbox: Sandbox; command: CniCommand; config?: object },
): Promise<string> {
  const result = await tryCni(node, request);
  if (result.status !== 0) {
    throw new Error(
      `CNI ${request.command} of "${request.sandbox.podName}" failed with status ${result.status}: ${result.stdout.trim()} ${result.stderr.trim()}`,
    );
  }
  return result.stdout;
}

export async function addPod(
  node: NodeNamespace,
  podName: string,
): Promise<Pod & { readonly result: CniResult }> {
  const sandbox = await createSandbox(node, podName);
  try {
    const result = JSON.parse(await runCni(node, { sandbox, command: 'ADD' })) as CniResult; // as: the plugin's contract
    const address = result.ips[0]?.address.split('/')[0];
    if (address === undefined)
      throw new Error(`CNI ADD of "${podName}" gave no address: ${JSON.stringify(result)}`);
    const remove = async (): Promise<void> => {
      await runCni(node, { sandbox, command: 'DEL' });
      await sandbox.remove();
    };
    return { ...podOf({ node, sandbox, address, remove }), result };
  } catch (error) {
    await sandbox.remove();
    throw error;
  }
}

export const podOf = (parts: {
  node: NodeNamespace;
  sandbox: Sandbox;
  address: string;
  remove: () => Promise<void>;
}): Pod => ({
  name: parts.sandbox.podName,
  nodeName: parts.node.name,
  place: parts.sandbox.place,
  address: parts.address,
  exec: (command, options) => runCommand(parts.sandbox.place, command, options),
  tryExec: (command, options) => tryCommand(parts.sandbox.place, command, options),
  delete: parts.remove,
});
