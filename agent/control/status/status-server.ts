// HTTP for operators: status pages on one address (loopback), metrics on another. Reads only: GET and HEAD, no other method, no body,
// no parameter changes anything. What is told comes from a StatusSource that control fills in.
import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';

import { OperationError, codeOf } from '../../operation-error.ts';
import type { IpamReport, NodeReport, RefusedReport } from '../../../proto/node-report.ts';
import { statusScreen } from '../../report/status-screen.ts';
import { connectionsTable, ipamTables, peersTable, attachmentsTable } from '../../report/tables.ts';
import { isOwnHost } from '../map/host-name.ts';
import { type Answer, type MapSource, mapRoutes } from '../map/map-routes.ts';

export interface StatusSource extends MapSource {
  facts(): NodeReport;
  /** Why pods cannot be attached; empty = ready. The kubelet asks every few seconds, so it is cheap. */
  notReady(): readonly string[];
  ipam(): IpamReport;
  /** The Prometheus text format. */
  metrics(): Promise<{ readonly contentType: string; readonly text: string }>;
}

export interface ListenOn {
  readonly host: string;
  /** 0 = any free one. */
  readonly port: number;
}

export interface StatusServerOptions {
  readonly source: StatusSource;
  readonly status: ListenOn;
  readonly metrics: ListenOn;
  /** A request that could not be answered. */
  readonly failed: (path: string, error: unknown) => void;
  /** How long an address that is taken is waited for: a program that is about to end may have it. 0 unless told. */
  readonly patienceMs?: number;
}

export interface StatusServer {
  readonly statusPort: number;
  readonly metricsPort: number;
  close(): Promise<void>;
}

type Route = () => Answer | Promise<Answer>;

const TEXT = 'text/plain; charset=utf-8';
const JSON_TYPE = 'application/json; charset=utf-8';
const LIMITS = {
  headersTimeout: 5000,
  requestTimeout: 5000,
  // How often those two are looked at; unless told it is 30 s, for which silent connections could have all places.
  connectionsCheckingInterval: 1000,
  keepAliveTimeout: 30_000,
  maxHeaderSize: 8192,
};
const MISDIRECTED: Answer = {
  status: 421,
  contentType: TEXT,
  body: 'Ask for this address by its number or as localhost: other names are not answered, so that no page of the web can read it.\n',
};
const MAX_CONNECTIONS = 64;
const PATIENCE_STEP_MS = 100;

/** Throws OperationError with the errno name when an address cannot be listened on. */
export async function openStatusServer(options: StatusServerOptions): Promise<StatusServer> {
  const { source, failed, patienceMs = 0 } = options;
  const open = (server: Server, where: ListenOn): Promise<Server> =>
    patiently(() => listen(server, { ...where, isShared: true }), patienceMs);
  const status = await open(
    serve({ routes: statusRoutes(source), failed, ownHost: options.status.host }),
    options.status,
  );
  try {
    const metrics = await open(serve({ routes: metricsRoutes(source), failed }), options.metrics);
    return {
      statusPort: portOf(status),
      metricsPort: portOf(metrics),
      async close() {
        await Promise.all([closed(status), closed(metrics)]);
      },
    };
  } catch (error) {
    await closed(status);
    throw error;
  }
}

export interface RefusedStatus {
  readonly version: string;
  readonly nodeName: string;
  /** Why no pods can be attached. */
  readonly reason: () => string;
}

/** The status address of an agent that cannot start. Not shared: throws OperationError EADDRINUSE while another agent has it. */
export async function openRefusedStatusServer(
  { version, nodeName, reason }: RefusedStatus,
  options: ListenOn & Pick<StatusServerOptions, 'failed'>,
): Promise<{ close(): Promise<void> }> {
  const text = (status: number, body: string): Route => {
    return () => ({ status, contentType: TEXT, body });
  };
  const report = (): RefusedReport => ({ version, node: { name: nodeName }, notReady: [reason()] });
  const page: Route = () => text(503, statusScreen(report()))();
  const routes = new Map<string, Route>([
    ['/status', page],
    ['/report', () => json(report())],
    ['/healthz', text(200, 'ok\n')],
    ['/readyz', () => text(503, `${reason()}\n`)()],
  ]);
  const server = await listen(serve({ routes, failed: options.failed, ownHost: options.host }), {
    ...options,
    isShared: false,
  });
  return { close: () => closed(server) };
}

const json = (value: object): Answer => ({
  status: 200,
  contentType: JSON_TYPE,
  body: `${JSON.stringify(value, undefined, 2)}\n`,
});

function statusRoutes(source: StatusSource): ReadonlyMap<string, Route> {
  const page = (
    render: (facts: NodeReport) => string,
    status: (facts: NodeReport) => number = () => 200,
  ): Route => {
    return () => {
      const facts = source.facts();
      return { status: status(facts), contentType: TEXT, body: render(facts) };
    };
  };
  const whenReady = (notReady: readonly string[]): number => (notReady.length === 0 ? 200 : 503);
  return new Map<string, Route>([
    [
      '/status',
      page(
        (facts) => statusScreen(facts),
        ({ notReady }) => whenReady(notReady),
      ),
    ],
    ['/status/peers', page((facts) => peersTable(facts))],
    ['/status/connections', page((facts) => connectionsTable(facts))],
    ['/status/ipam', page((facts) => ipamTables(facts))],
    ['/status/attachments', page((facts) => attachmentsTable(facts))],
    ['/report', () => json(source.facts())],
    ['/report/ipam', () => json(source.ipam())],
    ['/healthz', () => ({ status: 200, contentType: TEXT, body: 'ok\n' })],
    [
      '/readyz',
      () => {
        const notReady = source.notReady();
        const body = notReady.length === 0 ? 'ok\n' : `${notReady.join('\n')}\n`;
        return { status: whenReady(notReady), contentType: TEXT, body };
      },
    ],
    ...mapRoutes(source),
  ]);
}

function metricsRoutes(source: StatusSource): ReadonlyMap<string, Route> {
  return new Map<string, Route>([
    [
      '/metrics',
      async () => {
        const { contentType, text } = await source.metrics();
        return { status: 200, contentType, body: text };
      },
    ],
  ]);
}

interface ServeOptions {
  readonly routes: ReadonlyMap<string, Route>;
  readonly failed: StatusServerOptions['failed'];
  /** Requests must call us by it or by an address (host-name.ts). Undefined: by any name, as what scrapes metrics does. */
  readonly ownHost?: string;
}

function serve({ routes, failed, ownHost }: ServeOptions): Server {
  const server = createServer(LIMITS, (request, response) => {
    const isMeant = ownHost === undefined || isOwnHost(request.headers.host, ownHost);
    void (isMeant ? answer(routes, request) : Promise.resolve(MISDIRECTED))
      .catch((error: unknown) => {
        failed(request.url ?? '', error);
        return {
          status: 500,
          contentType: TEXT,
          body: 'This page could not be made; see the log of the agent.\n',
        };
      })
      .then((made) => send(made, request, response));
  });
  server.maxConnections = MAX_CONNECTIONS;
  return server;
}

async function answer(routes: ReadonlyMap<string, Route>, request: IncomingMessage): Promise<Answer> {
  const path = (request.url ?? '').split('?')[0] ?? '';
  const route = routes.get(path);
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    return { status: 405, contentType: TEXT, body: 'Only GET and HEAD are answered here.\n' };
  }
  if (route === undefined) {
    return {
      status: 404,
      contentType: TEXT,
      body: `There is: ${[...routes.keys()].filter((each) => !/\.\w+$/.test(each)).join(' ')}\n`,
    };
  }
  return route();
}

function send(
  { status, contentType, body, headers }: Answer,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const bytes = Buffer.from(body);
  response.writeHead(status, {
    'content-type': contentType,
    'content-length': bytes.length,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...headers,
    ...(status === 405 ? { allow: 'GET, HEAD', connection: 'close' } : {}),
  });
  response.end(request.method === 'HEAD' ? undefined : bytes);
}

async function patiently<T>(attempt: () => Promise<T>, patienceMs: number): Promise<T> {
  const end = performance.now() + patienceMs;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (codeOf(error) !== 'EADDRINUSE' || performance.now() >= end) throw error;
    }
    await pause(PATIENCE_STEP_MS);
  }
}

function listen(
  server: Server,
  { host, port, isShared }: ListenOn & { readonly isShared: boolean },
): Promise<Server> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) => {
      const code = codeOf(cause);
      const remedy =
        code === 'EADDRINUSE' ? '; stop the program that listens there, or set another address' : '';
      reject(
        new OperationError(`Cannot listen on ${host}:${port} (${code})${remedy}`, {
          code,
          context: { host, port },
          cause,
        }),
      );
    });
    // Shared, since an old and a new agent are up together for a moment when the agent is upgraded.
    server.listen({ host, port, reusePort: isShared && port !== 0 }, () => {
      server.removeAllListeners('error');
      server.on('error', () => undefined); // of accepting: the client sees it
      resolve(server);
    });
  });
}

function portOf(server: Server): number {
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
