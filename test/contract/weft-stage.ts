// What the `weft` command talks to in tests, and the command itself.
import assert from 'node:assert/strict';
import { createServer } from 'node:net';

import { weft } from '../../agent/cli/weft.ts';
import { type StatusServer, openStatusServer } from '../../agent/control/status/status-server.ts';
import { OperationError } from '../../agent/operation-error.ts';
import type { NodeReport } from '../../proto/node-report.ts';
import { createMapRig } from '../support/map-rig.ts';
import { ipamReport, nodeReport } from '../support/node-report.ts';

export const host = '127.0.0.1';
/** Of a node without a trouble. */
export const wellReport: NodeReport = {
  ...nodeReport,
  peers: nodeReport.peers.slice(1, 2),
  problems: [],
  recent: [],
};

/** A status server of a node that `facts` tells of; at each of the two addresses a port that is free. */
export function openServer(
  hosts: { readonly status: string; readonly metrics: string },
  facts: () => NodeReport,
): Promise<StatusServer> {
  return openStatusServer({
    source: {
      facts,
      notReady: () => [],
      ipam: () => ipamReport,
      map: () => createMapRig({ names: ['node-b'], seed: 1 }).facts(),
      metrics: async () => ({ contentType: 'text/plain', text: 'weave_max_ips 1\n' }),
    },
    status: { host: hosts.status, port: 0 },
    metrics: { host: hosts.metrics, port: 0 },
    failed: (path, error) => assert.fail(`${path}: ${String(error)}`),
  });
}

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** The command, in this process. */
export async function run(
  args: readonly string[],
  environment: Readonly<Record<string, string>>,
): Promise<Ran> {
  let [out, err] = ['', ''];
  const code = await weft(args, {
    env: environment,
    stdout: { write: (text) => void (out += String(text)), isTerminal: false },
    stderr: { write: (text) => void (err += String(text)), isTerminal: false },
    signal: new AbortController().signal,
  });
  return { code, out, err };
}

/** A listener that gives every caller the answer and closes. */
export async function freePort(answer = ''): Promise<{ port: number; close: () => Promise<void> }> {
  const listener = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => socket.end(answer));
  });
  await new Promise<void>((resolve) => listener.listen(0, host, resolve));
  const address = listener.address();
  if (typeof address !== 'object' || address === null)
    throw new OperationError('no port', { code: 'UNKNOWN' });
  return {
    port: address.port,
    close: () => new Promise((resolve) => listener.close(() => resolve())),
  };
}
