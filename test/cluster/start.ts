// `npm run cluster`: a Kubernetes cluster with Weft installed, in the foreground until Ctrl-C, and how to use it.
import process from 'node:process';

import { LAB_DIRECTORY, enclosingPid } from '../lab/enclosure.ts';
import { createCluster, enterClusterEnclosure } from './cluster.ts';
import { installWeft } from './install.ts';
import { proxyMode } from './node-programs.ts';

await enterClusterEnclosure();

const say = (text: string): void => console.log(`cluster: ${text}`);
const enter = `sudo sh test/cluster/enter.sh ${enclosingPid()}`;

try {
  const cluster = await createCluster({ nodes: 3, proxyMode: proxyMode(process.env), say });
  await installWeft(cluster, say);
  const first = cluster.nodes[0]?.name ?? '';
  console.log(`
The cluster is up, with Weft as its pod network. From another terminal, in this checkout:

  ${enter} kubectl get pods -A -o wide
  ${enter} ${first}                 a shell on a node (${cluster.nodes.map(({ name }) => name).join(', ')})
  ${enter} ${first} ip route        a command there
  ${enter}                        a shell where the control plane is; logs are in ${LAB_DIRECTORY}

Images for pods: localhost/test-pod:1 (busybox; serves http://ADDRESS:8080/cgi-bin/who), with imagePullPolicy: Never.
Ctrl-C takes everything down.`);
  await new Promise(() => setInterval(() => undefined, 2 ** 30)); // until the enclosure is ended
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
