// The runtime's side of CNI with every part in the test's hand: environment and standard input of the executed shim are given word for
// word, its exit status, output and errors come back, and what a node holds for its pods can be compared before and after.
import { readFileSync } from 'node:fs';

import { type CommandResult, type Place, placeOfNetns, runCommand, tryCommand } from './command.ts';
import type { LabNode } from './lab.ts';
import { type CniInterface, SHIM } from './pod.ts';

export const VERSIONS = ['0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;

export interface CniCall {
  readonly id?: string;
  readonly ifname?: string;
  readonly netns?: string;
  /** Standard input: an object is completed with cniVersion, name and type; text is given as it is. */
  readonly config?: object | string;
  /** Further variables, or others; undefined: left out. */
  readonly variables?: Readonly<Record<string, string | undefined>>;
}

/** What a plugin may print: a result, an error, or versions. */
export interface CniPrinted {
  readonly cniVersion?: string;
  readonly code?: number;
  readonly msg?: string;
  readonly details?: string;
  readonly supportedVersions?: readonly string[];
  readonly interfaces?: readonly CniInterface[];
  readonly ips?: readonly {
    readonly version?: string;
    readonly address: string;
    readonly gateway?: string;
    readonly interface?: number;
  }[];
  readonly routes?: readonly { readonly dst: string; readonly gw?: string; readonly table?: number }[];
  readonly dns?: object;
}

export interface CniAnswer extends CommandResult {
  /** Of standard output; empty when nothing was printed. */
  readonly json: CniPrinted;
}

/** A container's namespace that nothing has attached yet. */
export interface Container {
  readonly id: string;
  readonly netns: string;
  readonly place: Place;
  readonly remove: () => Promise<void>;
}

export interface CniRuntime {
  readonly container: (name: string) => Promise<Container>;
  /** Executes the plugin. CNI_NETNS and CNI_CONTAINERID are the container's where one is given. */
  readonly call: (command: string, call?: CniCall & { of?: Container }) => Promise<CniAnswer>;
  /** Interfaces, anti-spoof elements and used addresses of the node's pods; equal before and after what left nothing. */
  readonly holdings: () => Promise<NodeHoldings>;
  /** Runs shell words on the node, or in the container. */
  readonly run: (command: string, of?: Container) => Promise<string>;
}

export interface NodeHoldings {
  readonly interfaces: readonly string[];
  readonly elements: readonly string[];
  readonly used: number;
}

export function createCniRuntime(node: LabNode): CniRuntime {
  const { namespace } = node;
  const run: CniRuntime['run'] = (command, of) =>
    runCommand(of?.place ?? namespace.place, ['sh', '-ec', command]);
  return {
    run,
    container: async (name) => {
      await run(`ip netns add ${name}`);
      return {
        id: name,
        netns: `/run/netns/${name}`,
        place: placeOfNetns(`${name}.${node.name}`, namespace.pid, name),
        remove: async () => void (await run(`ip netns delete ${name}`)),
      };
    },
    call: async (
      command,
      { of, id = of?.id, ifname = 'eth0', netns = of?.netns, config = {}, variables } = {},
    ) => {
      const environment = {
        CNI_COMMAND: command,
        CNI_CONTAINERID: id,
        CNI_NETNS: netns,
        CNI_IFNAME: ifname,
        CNI_PATH: '/opt/cni/bin',
        ...variables,
      };
      const env = Object.fromEntries(
        Object.entries(environment).filter((entry): entry is [string, string] => entry[1] !== undefined),
      );
      const complete = {
        cniVersion: '1.1.0',
        name: 'weft',
        type: 'weft',
        ...(typeof config === 'string' ? {} : config),
      };
      const stdin = typeof config === 'string' ? config : JSON.stringify(complete);
      const result = await tryCommand(namespace.place, [SHIM], { stdin, env });
      return { ...result, json: result.stdout === '' ? {} : (JSON.parse(result.stdout) as CniPrinted) }; // as: the plugin's contract
    },
    holdings: async () => {
      const links = await run('ip -br link show type veth');
      const set = await run('nft -j list set bridge weft pods');
      const used = Number(/Addresses: (\d+) used/.exec(await node.agent.status('/status'))?.[1]);
      return {
        interfaces: links
          .split('\n')
          .flatMap((line) => line.match(/^vethwe[^@\s]*/)?.slice(0, 1) ?? [])
          .sort(),
        elements: (set.match(/vethwe\w+/g) ?? []).sort(),
        used,
      };
    },
  };
}

/** Lines of the node's allocation log that mention the text. */
export const allocationLines = (node: LabNode, text: string): readonly string[] =>
  readFileSync(node.namespace.path('/var/lib/weft/allocations.log'), 'utf8')
    .split('\n')
    .filter((line) => line.includes(text));
