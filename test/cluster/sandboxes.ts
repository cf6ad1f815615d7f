// Sandboxes of a node as the CRI tests need them, through the node's runtime (cri.ts), in place of its kubelet: that is stopped
// meanwhile. What the node holds without them is noted, so that it can be shown that nothing of theirs is left.
import assert from 'node:assert/strict';

import { until } from '../lab/condition.ts';
import { type AttachmentFacts, allocationsOf, attachmentFacts } from './attachment-facts.ts';
import { programFolder } from './build.ts';
import type { Cluster } from './cluster.ts';
import { type Cri, CriError, openCri } from './cri.ts';
import { killNodeProgram, startContainerd, startKubelet } from './node-programs.ts';

/** The leak watch looks every 5 s and believes what it sees twice. */
const SETTLED_BOUND_MS = 60_000;

type Node = Cluster['nodes'][number];

export interface Sandboxes {
  readonly node: Node;
  readonly cri: Cri;
  /** Of a sandbox that is ready, as the runtime tells it. */
  readonly addressOf: (id: string) => Promise<string>;
  readonly stopAndRemove: (id: string) => Promise<void>;
  /** Fails where two attachments of the node have one address. */
  readonly noAddressTwice: () => Promise<void>;
  /** What the node holds without sandboxes of the test. */
  readonly without: () => AttachmentFacts;
  /** What it holds now is from now on what it holds without them. */
  readonly note: () => Promise<void>;
  /** Resolves when it holds no more than that (and the namespaces named); rejects with the difference after a bound. */
  readonly nothingLeft: (namespaces?: readonly string[]) => Promise<void>;
  /** kill -9, and what `note` does. */
  readonly stopKubelet: () => Promise<void>;
  readonly resumeKubelet: () => void;
  /** kill -9; resolves when none runs. */
  readonly killRuntime: () => Promise<void>;
  /** Resolves when it serves CRI. */
  readonly resumeRuntime: () => Promise<void>;
}

/** Of the cluster's first node, whose kubelet it stops. */
export async function openSandboxes({ nodes: [node], controlPlane }: Cluster): Promise<Sandboxes> {
  assert.ok(node !== undefined);
  const cri = openCri(node);
  const programs = programFolder();
  let without: AttachmentFacts;
  const sandboxes: Sandboxes = {
    node,
    cri,
    addressOf: async (id) => {
      const { state, network } = await cri.status(id);
      assert.equal(state, undefined, `sandbox ${id} is not ready`);
      return network?.ip ?? assert.fail(`sandbox ${id} has no address`);
    },
    stopAndRemove: async (id) => {
      await cri.stop(id);
      await cri.remove(id);
    },
    noAddressTwice: async () => {
      const addresses = (await allocationsOf(node)).map(({ address }) => address);
      assert.equal(new Set(addresses).size, addresses.length, addresses.join(' '));
    },
    without: () => without,
    note: async () => {
      without = await attachmentFacts(node);
    },
    nothingLeft: (namespaces = []) =>
      until(
        async () => {
          const podNamespaces = [...without.podNamespaces, ...namespaces].sort();
          assert.deepEqual(await attachmentFacts(node), { ...without, podNamespaces });
          return true;
        },
        { what: 'nothing to be left of the sandboxes', boundMs: SETTLED_BOUND_MS, intervalMs: 250 },
      ),
    stopKubelet: async () => {
      await killNodeProgram(node.programs.kubelet);
      await sandboxes.note();
    },
    resumeKubelet: () => {
      const { authority } = controlPlane;
      Object.assign(node.programs, { kubelet: startKubelet(node, { programs, authority }) });
    },
    killRuntime: () => killNodeProgram(node.programs.containerd),
    resumeRuntime: async () => {
      Object.assign(node.programs, { containerd: await startContainerd(node, programs) });
      await until(async () => (await cri.networkReady()).status === true, {
        what: 'containerd to serve CRI again',
        boundMs: SETTLED_BOUND_MS,
      });
    },
  };
  await sandboxes.stopKubelet();
  return sandboxes;
}

/** What the runtime refuses it with. */
export const refusal = (attempt: Promise<unknown>): Promise<CriError> =>
  attempt.then(
    () => assert.fail('the runtime did not refuse'),
    (error: unknown) => {
      assert.ok(error instanceof CriError, String(error));
      return error;
    },
  );
