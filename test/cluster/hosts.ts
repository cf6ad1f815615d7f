// Hosts that are no pods, and a server on any of them that answers as the test pods do: who it is, and whom it saw asking.
//
//   enclosure: underlay bridge 172.31.0.1/16 ─┬─ node-1 … node-n 172.31.0.11 …
//                                             └─ outside 172.31.1.82: on the underlay, no node, no route to pods
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { type Place, tryCommand } from '../lab/command.ts';
import { until } from '../lab/condition.ts';
import { LAB_DIRECTORY } from '../lab/enclosure.ts';
import { createNodeNamespace } from '../lab/node-namespace.ts';
import { type LabProcess, startProcess } from '../lab/process.ts';
import { programFolder } from './build.ts';

export const HOST_PORT = 8088;

/** Far from the nodes' numbers. */
const OUTSIDE_INDEX = 200;

export interface OutsideHost {
  readonly place: Place;
  readonly address: string;
  readonly close: () => Promise<void>;
}

/** A machine beside the cluster, with a server on HOST_PORT. */
export async function createOutsideHost(): Promise<OutsideHost> {
  const { place, address, remove } = await createNodeNamespace('outside', OUTSIDE_INDEX);
  const server = await serveOnHost(place);
  const close = async (): Promise<void> => {
    await server.kill();
    await remove();
  };
  return { place, address, close };
}

const WHO = `#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n%s %s\\n' "$(hostname)" "$REMOTE_ADDR"
`;

/** A server on HOST_PORT of all addresses of a host. */
export async function serveOnHost(place: Place): Promise<LabProcess> {
  const pages = join(LAB_DIRECTORY, `pages-${place.name}`);
  const program = join(pages, 'cgi-bin/who');
  mkdirSync(join(pages, 'cgi-bin'), { recursive: true });
  writeFileSync(program, WHO);
  chmodSync(program, 0o755);
  const server = startProcess({
    place,
    command: [join(programFolder(), 'busybox'), 'httpd', '-f', '-p', `0.0.0.0:${HOST_PORT}`, '-h', pages],
    logFile: join(LAB_DIRECTORY, `${place.name}-pages.log`),
  });
  const url = `http://127.0.0.1:${HOST_PORT}/cgi-bin/who`;
  await until(async () => (await tryCommand(place, ['curl', '--silent', '--fail', url])).status === 0, {
    what: `the server on ${place.name}`,
  });
  return server;
}
