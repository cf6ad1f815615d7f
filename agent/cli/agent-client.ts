// Asks the agent of this node, at its status address (WEAVE_HTTP_ADDR), for its pages. In HTTP/1.0 over a plain socket: to load Node's own
// client takes longer than everything else that `weft status` does.
import { createConnection } from 'node:net';

import type { IpamReport, NodeReport, RefusedReport } from '../../proto/node-report.ts';
import { OperationError, codeOf } from '../operation-error.ts';
import { receivedReport } from '../report/received-report.ts';
import { settingOf } from '../setting-table.ts';
import { type ListenAddress, authorityOf, listenAddress } from '../settings.ts';

const STATUS_ADDRESS = 'WEAVE_HTTP_ADDR';
const METRICS_ADDRESS = 'WEAVE_METRICS_ADDR';
const PATIENCE_MS = 5000;
const LOGS =
  'look at "kubectl -n weft get pods -o wide" and, for this node\'s pod, "kubectl -n weft logs POD"';

type Environment = Readonly<Record<string, string | undefined>>;

/** Throws OperationError AGENT_SILENT when nobody answers, AGENT_REFUSES when the agent cannot start. */
export async function askReport(env: Environment): Promise<NodeReport> {
  const report = await askAnyReport(env);
  if ('peers' in report) return report;
  throw new OperationError(`The agent of this node cannot start: ${report.notReady.join('; ')}`, {
    code: 'AGENT_REFUSES',
  });
}

/** Also of an agent that cannot start. Throws OperationError AGENT_SILENT. */
export async function askAnyReport(env: Environment): Promise<NodeReport | RefusedReport> {
  const report = receivedReport(await askAgent(env, '/report'));
  if (report === undefined) throw strange(env, '/report');
  return report;
}

/** Throws OperationError AGENT_SILENT, AGENT_REFUSES. */
export async function askIpam(env: Environment): Promise<IpamReport> {
  const text = await askAgent(env, '/report/ipam');
  if (!text.startsWith('{')) throw strange(env, '/report/ipam');
  try {
    return JSON.parse(text) as IpamReport; // as: our own agent's, over loopback
  } catch {
    throw strange(env, '/report/ipam');
  }
}

/** The page at `path`, also when it is told with 503. Throws OperationError AGENT_SILENT, SETTING_INVALID. */
export function askAgent(env: Environment, path: string): Promise<string> {
  return ask(env, { path, setting: STATUS_ADDRESS });
}

/** Throws OperationError AGENT_SILENT, SETTING_INVALID. */
export function askMetrics(env: Environment): Promise<string> {
  return ask(env, { path: '/metrics', setting: METRICS_ADDRESS });
}

const strange = (env: Environment, path: string): OperationError =>
  new OperationError(
    `What answers at ${settingOf(env, STATUS_ADDRESS)}${path} is no agent of this release: ${LOGS}; another address is set by ${STATUS_ADDRESS}`,
    { code: 'AGENT_SILENT', context: { path } },
  );

/** Where who listens on every address is reached on the node itself. */
const LOOPBACKS: Readonly<Record<string, string>> = { '0.0.0.0': '127.0.0.1', '::': '::1' };

async function ask(
  env: Environment,
  { path, setting }: { readonly path: string; readonly setting: string },
): Promise<string> {
  const { host, port } = listenAddress(setting, settingOf(env, setting));
  const there = { host: LOOPBACKS[host] ?? host, port };
  try {
    return bodyOf(await exchange(there, path));
  } catch (error) {
    const address = authorityOf(there);
    throw new OperationError(
      `No agent answers at ${address} (${codeOf(error)}): ${LOGS}; another address is set by ${setting}`,
      { code: 'AGENT_SILENT', context: { address }, cause: error },
    );
  }
}

function exchange({ host, port }: ListenAddress, path: string): Promise<string> {
  const address = authorityOf({ host, port });
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const socket = createConnection({ host, port, timeout: PATIENCE_MS });
    socket.on('connect', () => socket.write(`GET ${path} HTTP/1.0\r\nHost: ${address}\r\n\r\n`));
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.on('end', () => resolve(Buffer.concat(chunks).toString('utf8')));
    socket.on('error', reject);
    socket.on('timeout', () => {
      socket.destroy(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' }));
    });
  });
}

const END_OF_HEAD = '\r\n\r\n';

function bodyOf(response: string): string {
  const end = response.indexOf(END_OF_HEAD);
  const head = end < 0 ? '' : response.slice(0, end);
  const body = response.slice(end + END_OF_HEAD.length);
  const length = /^content-length: (\d+)$/im.exec(head)?.[1];
  if (
    !/^HTTP\/1\.[01] (?:200|503) /.test(head) ||
    (length !== undefined && Buffer.byteLength(body) < Number(length))
  ) {
    throw Object.assign(new Error('cut off'), { code: 'ANSWER_REFUSED' });
  }
  return body;
}
