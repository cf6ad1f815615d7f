// A node comes back after a crash: it boots from its disk and its programs are started again, as its init system would.
import { programFolder } from './build.ts';
import type { Cluster } from './cluster.ts';
import { runNodePrograms } from './node-programs.ts';

export async function returnNode(cluster: Cluster, node: Cluster['nodes'][number]): Promise<void> {
  await node.boot();
  const { authority } = cluster.controlPlane;
  const started = await runNodePrograms(node, { programs: programFolder(), images: [], authority });
  Object.assign(node.programs, started);
}
