// A lab: nodes with agents, kernel nodes, pods and an API server inside one enclosure (enclosure.ts). The demo, the tests and the
// benchmarks use it; what it makes ends with the program.
import { existsSync, readFileSync } from 'node:fs';

import { parseLog } from '../support/log-line.ts';
import type { Place } from './command.ts';
import { type Agent, type AgentEnvironment, createAgent } from './agent.ts';
import { type LabApi, createLabApi } from './api-server.ts';
import { type KernelNode, type KernelNodeOptions, VXLAN_PORT, createKernelNode } from './kernel-node.ts';
import { type NodeNamespace, createNodeNamespace, createUnderlay, removeUnderlay } from './node-namespace.ts';
import { type CniResult, type Pod, addPod } from './pod.ts';
import { type Endpoint, openEndpoint } from './probe/endpoint.ts';
import { logTail } from './process.ts';

export interface LabNode {
  readonly name: string;
  readonly address: string;
  readonly uid: string;
  readonly namespace: NodeNamespace;
  readonly agent: Agent;
  readonly pods: readonly Pod[];
  /** Makes a namespace and attaches it with the CNI shim. */
  readonly addPod: (name: string) => Promise<Pod & { readonly result: CniResult }>;
}

export interface AddNodeOptions {
  /** Settings of its agent beside the usual ones. */
  readonly environment?: AgentEnvironment;
  /** False: the Node object exists, but its agent is not started. */
  readonly start?: boolean;
  /** The only processor core of the node's programs and its pods'. */
  readonly core?: number;
}

export interface AddKernelNodeOptions extends KernelNodeOptions {
  /** False: it is unknown to the API, for a pair of its own beside the cluster. */
  readonly register?: boolean;
  readonly core?: number;
}

export interface Lab {
  readonly api: LabApi;
  readonly nodes: readonly LabNode[];
  readonly pods: () => readonly Pod[];
  /** Resolves when their agents are ready. */
  readonly addNodes: (names: readonly string[], options?: AddNodeOptions) => Promise<readonly LabNode[]>;
  readonly addNode: (name: string, options?: AddNodeOptions) => Promise<LabNode>;
  /** A node without an agent or anything else. */
  readonly addBareNode: (name: string, core?: number) => Promise<NodeNamespace>;
  readonly addKernelNode: (name: string, options: AddKernelNodeOptions) => Promise<KernelNode>;
  /** Tells a kernel node of every peer and block that the API knows, as flannel's agent would. */
  readonly teach: (kernelNode: KernelNode) => Promise<void>;
  /** The probe worker of a place; started on first use. */
  readonly endpoint: (at: Pod | NodeNamespace) => Promise<Endpoint>;
  /** The last lines of every log, for a failure's message. */
  readonly logs: () => string;
  /** Rejects when an agent has written a line that is no log event. */
  readonly close: () => Promise<void>;
}

export interface LabOptions {
  /** The API server counts requests and misbehaves on demand. */
  readonly faults?: boolean;
}

/** One at a time in an enclosure; another can follow after `close`. */
export async function createLab({ faults = false }: LabOptions = {}): Promise<Lab> {
  const nodes: LabNode[] = [];
  const endpoints = new Map<Place, Promise<Endpoint>>();
  const namespaces: NodeNamespace[] = [];
  await createUnderlay();
  const api = await createLabApi({ faults });
  await api.start();

  let nodeCount = 0;
  const nextNamespace = async (name: string, core?: number): Promise<NodeNamespace> => {
    nodeCount += 1;
    const namespace = await createNodeNamespace(name, nodeCount, { core });
    namespaces.push(namespace);
    return namespace;
  };

  const createNode = async (name: string, { core }: AddNodeOptions): Promise<LabNode> => {
    const namespace = await nextNamespace(name, core);
    const uid = await api.createNode(name, namespace.address);
    const agent = createAgent(namespace, api.kubeconfig);
    const pods: Pod[] = [];
    const node: LabNode = {
      name,
      uid,
      namespace,
      agent,
      pods,
      address: namespace.address,
      addPod: async (podName) => {
        const pod = await addPod(namespace, podName);
        const listed = {
          ...pod,
          delete: async () => {
            pods.splice(pods.indexOf(listed), 1);
            await pod.delete();
          },
        };
        pods.push(listed);
        return listed;
      },
    };
    nodes.push(node);
    return node;
  };

  const startAgent = async (
    { agent }: LabNode,
    { environment, start = true }: AddNodeOptions,
  ): Promise<void> => {
    if (!start) return;
    agent.start(environment);
    await agent.ready();
  };

  const addNodes = async (
    names: readonly string[],
    options: AddNodeOptions = {},
  ): Promise<readonly LabNode[]> => {
    const added: LabNode[] = [];
    for (const name of names) added.push(await createNode(name, options));
    await Promise.all(added.map((node) => startAgent(node, options)));
    return added;
  };

  const addNode = async (name: string, options: AddNodeOptions = {}): Promise<LabNode> => {
    const node = await createNode(name, options);
    await startAgent(node, options);
    return node;
  };

  const addKernelNode = async (
    name: string,
    { register = true, core, ...options }: AddKernelNodeOptions,
  ): Promise<KernelNode> => {
    const namespace = await nextNamespace(name, core);
    const kernelNode = await createKernelNode(namespace, options);
    if (register) {
      const nodeUid = await api.createNode(name, namespace.address);
      await api.createBlock(kernelNode.block, { node: name, nodeUid });
      await api.createPeer(name, {
        nodeUid,
        addresses: [namespace.address],
        port: options.port ?? VXLAN_PORT,
        vtepMac: kernelNode.vtepMac,
        features: [],
        version: 'kernel',
      });
    }
    return kernelNode;
  };

  return {
    api,
    nodes,
    addNodes,
    addNode,
    addBareNode: nextNamespace,
    addKernelNode,
    pods: () => nodes.flatMap((node) => node.pods),
    teach: async (kernelNode) => {
      const [peers, blocks] = await Promise.all([api.peers(), api.blocks()]);
      for (const peer of peers) {
        const address = peer.spec.addresses[0];
        if (peer.metadata.name === kernelNode.node.name || address === undefined) continue;
        const owned = blocks.filter((block) => block.spec.node === peer.metadata.name);
        await kernelNode.learn({
          address,
          vtepMac: peer.spec.vtepMac,
          blocks: owned.map((block) => block.spec.cidr),
        });
      }
    },
    endpoint: ({ place }) => {
      const open = endpoints.get(place) ?? openEndpoint(place);
      endpoints.set(place, open);
      return open;
    },
    logs: () =>
      [api.logFile, ...nodes.map((node) => node.agent.logFile)]
        .map((file) => `--- ${file}\n${logTail(file)}`)
        .join('\n'),
    close: async () => {
      for (const endpoint of endpoints.values()) await (await endpoint).close();
      await Promise.all(nodes.map((node) => node.agent.stop()));
      await api.stop();
      api.close();
      await Promise.all(namespaces.map((namespace) => namespace.remove()));
      await removeUnderlay();
      for (const { agent } of nodes) parseLog(agentLines(agent.logFile));
    },
  };
}

/** What else is in the file are the last words of processes that a test ended badly. */
const agentLines = (file: string): string =>
  existsSync(file)
    ? readFileSync(file, 'utf8')
        .split('\n')
        .filter((line) => line.startsWith('{'))
        .join('\n')
    : '';

/** Runs `body` in a new lab. When it fails, the logs' last lines go to stderr. */
export async function withLab<T>(options: LabOptions, body: (lab: Lab) => Promise<T>): Promise<T> {
  const lab = await createLab(options);
  try {
    return await body(lab);
  } catch (error) {
    process.stderr.write(`${lab.logs()}\n`);
    throw error;
  } finally {
    await lab.close();
  }
}
