// What the product's containers are allowed, read from the pods as they run, beside what is the most they may have.
import type { Cluster } from './cluster.ts';

interface SecurityContext {
  readonly privileged?: boolean;
  readonly allowPrivilegeEscalation?: boolean;
  readonly readOnlyRootFilesystem?: boolean;
  readonly capabilities?: { readonly add?: readonly string[]; readonly drop?: readonly string[] };
}

interface Container {
  readonly name: string;
  readonly securityContext?: SecurityContext;
}

interface PodList {
  readonly items: readonly {
    readonly metadata: { readonly name: string };
    readonly spec: {
      readonly hostPID?: boolean;
      readonly hostIPC?: boolean;
      readonly containers: readonly Container[];
      readonly initContainers?: readonly Container[];
    };
  }[];
}

export interface Privileges {
  readonly privileged: boolean;
  readonly escalation: boolean;
  readonly writableRoot: boolean;
  readonly hostProcesses: boolean;
  readonly dropped: readonly string[];
  readonly added: readonly string[];
}

export interface ContainerPrivileges {
  readonly container: string;
  readonly declared: Privileges;
  readonly expected: Privileges;
}

/** Only the agent itself has a capability. */
const expectedOf = (name: string): Privileges => ({
  privileged: false,
  escalation: false,
  writableRoot: false,
  hostProcesses: false,
  dropped: ['ALL'],
  added: name === 'agent' ? ['NET_ADMIN'] : [],
});

/** What is not said counts as allowed. */
const declaredBy = ({ securityContext: context = {} }: Container): Omit<Privileges, 'hostProcesses'> => ({
  privileged: context.privileged ?? false,
  escalation: context.allowPrivilegeEscalation ?? true,
  writableRoot: !(context.readOnlyRootFilesystem ?? false),
  dropped: context.capabilities?.drop ?? [],
  added: context.capabilities?.add ?? [],
});

/** Every container of every pod in namespace "weft"; throws when there is none. */
export async function privileges(cluster: Cluster): Promise<readonly ContainerPrivileges[]> {
  const text = await cluster.kubectl(['--namespace', 'weft', 'get', 'pods', '--output', 'json']);
  const { items } = JSON.parse(text) as PodList; // as: kubectl's
  const found = items.flatMap(({ metadata, spec }) =>
    [...(spec.initContainers ?? []), ...spec.containers].map((container) => ({
      container: `${metadata.name}/${container.name}`,
      declared: {
        ...declaredBy(container),
        hostProcesses: (spec.hostPID ?? false) || (spec.hostIPC ?? false),
      },
      expected: expectedOf(container.name),
    })),
  );
  if (found.length === 0) throw new Error('Cannot find a pod in namespace "weft"');
  return found;
}
