// A running embedded API server for tests: a process of its own on a free loopback port or a unix socket, and requests to it.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type ClientRequest, type IncomingMessage, request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../embedded-api/main.ts', import.meta.url));
export const TOKEN = 'a-token-for-tests-0123456789';
const BOUND_MS = 20_000;

/** JSON as a test reads it. */
// oxlint-disable-next-line typescript/no-explicit-any -- a test looks into answers of every shape
export type Loose = any;

export interface ApiAnswer {
  readonly code: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: Loose;
}

export interface RequestOptions {
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** The events of one watch, read one by one. */
export interface WatchStream {
  readonly code: number;
  /** The next event; undefined when the server has ended the stream. Rejects when the connection breaks or after a bound. */
  next(): Promise<Loose>;
  close(): void;
}

export interface TestServer {
  readonly directory: string;
  /** `http://127.0.0.1:port`, or `unix:/path`. */
  readonly address: string;
  readonly child: ChildProcess;
  call(method: string, path: string, options?: RequestOptions): Promise<ApiAnswer>;
  watch(path: string, headers?: Readonly<Record<string, string>>): Promise<WatchStream>;
  /** Resolves to exit code or signal. */
  exited(): Promise<number | string>;
  close(): Promise<void>;
}

/** Throws when the connection breaks before the end of the response. */
async function* linesOf(response: IncomingMessage): AsyncGenerator<string, undefined> {
  let rest = '';
  for await (const part of response as AsyncIterable<Buffer>) {
    const lines = (rest + part.toString()).split('\n'); // our objects are ASCII: a part never ends inside a character
    rest = lines.pop() ?? '';
    yield* lines;
  }
  return undefined;
}

/** Runs the program; resolves to what it says and does when it ends by itself. */
export async function runMain(
  arguments_: readonly string[],
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [MAIN, ...arguments_], { stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (part: Buffer) => (stdout += part.toString()));
  child.stderr.on('data', (part: Buffer) => (stderr += part.toString()));
  await once(child, 'close');
  return { code: child.exitCode, stdout, stderr };
}

export async function startServer(options: {
  readonly arguments?: readonly string[];
  /** A directory to use again after a restart; otherwise a fresh one that close() removes. */
  readonly directory?: string;
  /** Keeps the objects in `api.db` there; otherwise they are in memory. */
  readonly onDisk?: boolean;
  readonly listen?: string;
}): Promise<TestServer> {
  const directory = options.directory ?? mkdtempSync(join(tmpdir(), 'weft-embedded-api-'));
  const tokenFile = join(directory, 'token');
  writeFileSync(tokenFile, `${TOKEN}\n`, { mode: 0o600 });
  const child = spawn(
    process.execPath,
    [
      MAIN,
      '--database',
      options.onDisk === true ? join(directory, 'api.db') : ':memory:',
      '--listen',
      options.listen ?? '127.0.0.1:0',
      '--token-file',
      tokenFile,
      ...(options.arguments ?? []),
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const ended = once(child, 'close').then(([code, signal]: unknown[]) => (code ?? signal) as number | string);
  const lines = createInterface({ input: child.stdout });
  const first = await Promise.race([once(lines, 'line'), ended.then(() => undefined)]);
  if (first === undefined) throw new Error('the embedded API server ended before it was ready');
  const address = (JSON.parse(String(first[0])) as { listening: string[] }).listening[0]!; // !: one --listen

  const open = (method: string, path: string, headers: Readonly<Record<string, string>>): ClientRequest => {
    const common = { method, path, headers: { authorization: `Bearer ${TOKEN}`, ...headers }, agent: false };
    if (address.startsWith('unix:')) return httpRequest({ ...common, socketPath: address.slice(5) });
    const { hostname, port } = new URL(address);
    return httpRequest({ ...common, hostname, port });
  };

  return {
    directory,
    address,
    child,
    call: async (method, path, { body, headers = {} } = {}) => {
      const text = body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
      const length = { 'content-length': String(Buffer.byteLength(text ?? '')) };
      const typed =
        text === undefined ? headers : { 'content-type': 'application/json', ...length, ...headers };
      const request = open(method, path, typed);
      request.setTimeout(BOUND_MS, () => request.destroy(new Error(`no answer to ${method} ${path}`)));
      request.end(text);
      const [response] = (await once(request, 'response')) as [IncomingMessage];
      const parts: Buffer[] = [];
      for await (const part of response as AsyncIterable<Buffer>) parts.push(part);
      const received = Buffer.concat(parts).toString();
      const isJson = response.headers['content-type']?.startsWith('application/json') === true;
      return {
        code: response.statusCode ?? 0,
        headers: response.headers,
        body: isJson && received !== '' ? (JSON.parse(received) as unknown) : received,
      };
    },
    watch: async (path, headers = {}) => {
      const request = open('GET', path, headers);
      request.setTimeout(BOUND_MS, () => request.destroy(new Error(`nothing more on watch ${path}`)));
      request.end();
      const [response] = (await once(request, 'response')) as [IncomingMessage];
      request.on('error', () => undefined); // a broken connection: reading the response says so
      const lines = linesOf(response);
      return {
        code: response.statusCode ?? 0,
        next: async () => {
          const line = await lines.next();
          return line.done === true ? undefined : (JSON.parse(line.value) as unknown);
        },
        close: () => request.destroy(),
      };
    },
    exited: () => ended,
    close: async () => {
      child.kill('SIGTERM');
      await ended;
      if (options.directory === undefined) rmSync(directory, { recursive: true, force: true });
    },
  };
}

export const PEERS = '/apis/weft.dev/v1alpha1/peers';
export const BLOCKS = '/apis/weft.dev/v1alpha1/addressblocks';
export const NODES = '/api/v1/nodes';
export const EVENTS = '/api/v1/namespaces/default/events';

export const peer = (name: string, changes: Readonly<Record<string, unknown>> = {}): Loose => ({
  apiVersion: 'weft.dev/v1alpha1',
  kind: 'Peer',
  metadata: { name },
  spec: {
    nodeUid: `uid-of-${name}`,
    addresses: ['192.0.2.1'],
    port: 6784,
    vtepMac: '0e:00:5e:00:53:01',
    features: ['probe'],
    version: '0.1.0',
    ...changes,
  },
});

export const block = (
  cidr: string,
  node: string,
  changes: Readonly<Record<string, unknown>> = {},
): Loose => ({
  apiVersion: 'weft.dev/v1alpha1',
  kind: 'AddressBlock',
  metadata: { name: cidr.replace('/', '-'), ...changes },
  spec: { cidr, node, nodeUid: `uid-of-${node}` },
});

export const ownedBy = (kind: string, name: string, uid: string): Loose => ({
  apiVersion: kind === 'Node' ? 'v1' : 'weft.dev/v1alpha1',
  kind,
  name,
  uid,
});

export const node = (name: string): Loose => ({ apiVersion: 'v1', kind: 'Node', metadata: { name } });
export const namesOf = (list: Loose): string[] => list.items.map((item: Loose) => item.metadata.name);

export const MERGE = { 'content-type': 'application/merge-patch+json' };
export const JSON_PATCH = { 'content-type': 'application/json-patch+json' };
export const STRATEGIC = { 'content-type': 'application/strategic-merge-patch+json' };

/** Creates and answers the stored object; throws when it is refused. */
export async function createOn(server: TestServer, path: string, body: Loose): Promise<Loose> {
  const answer = await server.call('POST', path, { body });
  if (answer.code !== 201) throw new Error(`create on ${path}: ${JSON.stringify(answer.body)}`);
  return answer.body;
}
