// A node's container runtime driven through CRI as its kubelet drives it, by go/cri: sandboxes of one namespace, which no API object
// stands for. The node's kubelet must be stopped meanwhile: it removes sandboxes that it does not know.
import { tryCommand } from '../lab/command.ts';
import { optionalProgram } from './build.ts';
import type { ClusterNode } from './cluster-node.ts';

export const CRI_PROGRAM = 'cri';
const NAMESPACE = 'cri-test';

/** A refusal of the runtime: its gRPC code and its sentence. */
export class CriError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

export interface SandboxStatus {
  readonly id: string;
  /** Absent: SANDBOX_READY, the protocol's default. */
  readonly state?: 'SANDBOX_NOTREADY';
  readonly network?: { readonly ip?: string };
}

export interface RuntimeCondition {
  readonly type: string;
  /** Absent: false. */
  readonly status?: boolean;
  readonly reason?: string;
  readonly message?: string;
}

interface VersionAnswer {
  readonly runtimeName: string;
  readonly runtimeVersion: string;
}
interface ListAnswer {
  readonly items?: readonly { readonly id: string; readonly metadata: { readonly namespace: string } }[];
}
interface StatusAnswer {
  readonly status: { readonly conditions: readonly RuntimeCondition[] };
}

export interface Cri {
  /** Name and version of the runtime. */
  readonly version: () => Promise<string>;
  /** Resolves to the sandbox's id. */
  readonly run: (name: string) => Promise<string>;
  readonly status: (id: string) => Promise<SandboxStatus>;
  readonly stop: (id: string) => Promise<void>;
  readonly remove: (id: string) => Promise<void>;
  /** Ids of the sandboxes of run(), in whatever state. */
  readonly list: () => Promise<readonly string[]>;
  /** What a kubelet does with all that is there: StopPodSandbox and RemovePodSandbox. Resolves to how many. */
  readonly removeAll: () => Promise<number>;
  /** NetworkReady of the runtime's Status. */
  readonly networkReady: () => Promise<RuntimeCondition>;
}

/** Each method rejects with CriError when the runtime refuses, also when it is not there (code Unavailable). */
export function openCri(node: ClusterNode): Cri {
  const program = optionalProgram(CRI_PROGRAM);
  const call = async <Answer>(method: string, request: object = {}): Promise<Answer> => {
    const stdin = JSON.stringify(request);
    const { status, stdout, stderr } = await tryCommand(node.place, [program, method], { stdin });
    const answer: unknown = stdout === '' ? {} : JSON.parse(stdout);
    if (status === 0) return answer as Answer; // as: CRI's own form
    const { code = 'Unknown', message = stderr } = answer as { code?: string; message?: string }; // as: go/cri's
    throw new CriError(code, message);
  };
  const cri: Cri = {
    version: async () => {
      const { runtimeName, runtimeVersion } = await call<VersionAnswer>('Version');
      return `${runtimeName} ${runtimeVersion}`;
    },
    run: async (name) => {
      const config = {
        metadata: { name, uid: `uid-of-${name}`, namespace: NAMESPACE },
        hostname: name,
        logDirectory: `/var/log/pods/${name}`,
        linux: { cgroupParent: `/${NAMESPACE}` },
      };
      return (await call<{ podSandboxId: string }>('RunPodSandbox', { config })).podSandboxId;
    },
    status: async (podSandboxId) =>
      (await call<{ status: SandboxStatus }>('PodSandboxStatus', { podSandboxId })).status,
    stop: (podSandboxId) => call('StopPodSandbox', { podSandboxId }),
    remove: (podSandboxId) => call('RemovePodSandbox', { podSandboxId }),
    list: async () => {
      const { items = [] } = await call<ListAnswer>('ListPodSandbox');
      return items.filter(({ metadata }) => metadata.namespace === NAMESPACE).map(({ id }) => id);
    },
    removeAll: async () => {
      const ids = await cri.list();
      for (const id of ids) {
        await cri.stop(id);
        await cri.remove(id);
      }
      return ids.length;
    },
    networkReady: async () => {
      const { status } = await call<StatusAnswer>('Status');
      const found = status.conditions.find(({ type }) => type === 'NetworkReady');
      if (found === undefined) throw new Error('The runtime tells no condition NetworkReady');
      return found;
    },
  };
  return cri;
}
