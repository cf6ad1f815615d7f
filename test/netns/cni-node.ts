// A lab of one node for a file of tests of the CNI verbs.
import { after } from 'node:test';

import { type CniRuntime, createCniRuntime } from '../lab/cni-runtime.ts';
import { type AddNodeOptions, type Lab, type LabNode, createLab } from '../lab/lab.ts';

export interface CniNode {
  readonly lab: Lab;
  readonly node: LabNode;
  readonly runtime: CniRuntime;
}

/** Once per file, at its top level, inside the enclosure; closed after the file's last test. */
export async function openCniNode(options?: AddNodeOptions): Promise<CniNode> {
  const lab = await createLab();
  after(() => lab.close());
  const node = await lab.addNode('node-1', options);
  return { lab, node, runtime: createCniRuntime(node) };
}
