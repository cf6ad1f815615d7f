// `npm run cluster`: a Kubernetes cluster with Weft installed, in the foreground until Ctrl-C, and how to use it.
import process from 'node:process';

import { LAB_DIRECTORY, enclosingPid } from '../lab/enclosure.ts';
import { createCluster, enterClusterEnclosure } from './cluster.ts';
import { HAPROXY_IMAGE, NEXT_WEFT_IMAGE, TEST_POD_IMAGE } from './images.ts';
import { installWeft } from './install.ts';
import { HELP, type StartOptions, parseStartOptions } from './start-options.ts';

const options = readOptions();
await enterClusterEnclosure({ moreImages: options.allImages ? [NEXT_WEFT_IMAGE, HAPROXY_IMAGE] : [] });

const say = (text: string): void => console.log(`cluster: ${text}`);
const enter = `sudo sh test/cluster/enter.sh ${enclosingPid()}`;

try {
  const cluster = await createCluster({ nodes: options.nodes, proxyMode: options.proxyMode, say });
  if (!options.bare) await installWeft(cluster, say);
  const first = cluster.nodes[0]?.name ?? '';
  console.log(`
The cluster is up, ${options.bare ? 'without a pod network' : 'with Weft as its pod network'}. From another terminal, in this checkout:

  ${enter} kubectl get pods -A -o wide
  ${enter} ${first}                 a shell on a node (${cluster.nodes.map(({ name }) => name).join(', ')})
  ${enter} ${first} ip route        a command there
  ${enter}                        a shell where the control plane is; logs are in ${LAB_DIRECTORY}

Images for pods: ${TEST_POD_IMAGE} (busybox; serves http://ADDRESS:8080/cgi-bin/who), with imagePullPolicy: Never.
Ctrl-C takes everything down.`);
  await new Promise(() => setInterval(() => undefined, 2 ** 30)); // until the enclosure is ended
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}

/** Read again inside the enclosure; only a right command line comes there. */
function readOptions(): StartOptions {
  const parsed = parseStartOptions(process.argv.slice(2), process.env);
  if ('run' in parsed) return parsed.run;
  if ('help' in parsed) {
    process.stdout.write(HELP);
    return process.exit(0);
  }
  process.stderr.write(`${parsed.refused}\n`);
  return process.exit(2);
}
