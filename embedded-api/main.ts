// The embedded API server as a program: reads its settings, opens the database, listens, prints one JSON line when it is ready.
// SIGTERM and SIGINT end it cleanly within a second; a SIGKILL loses nothing that was answered.
import { chmodSync, readFileSync, rmSync } from 'node:fs';
import type { Server } from 'node:http';

import { ApiServer } from './api-server.ts';
import {
  type ListenAddress,
  type Settings,
  UsageError,
  formatHost,
  parseCommandLine,
} from './command-line.ts';
import { expireEvents } from './event-expiry.ts';
import { Faults } from './faults.ts';
import { timestamp } from './object-writes.ts';
import { Storage } from './storage.ts';
import { WatchHub } from './watch.ts';

/** How long open requests may take to end after a signal. */
const GRACE_MS = 300;
const EVENT_SWEEP_MS = 60_000;

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : String(error);

function readNamedFile(option: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new UsageError(`Cannot read ${option} "${path}": ${codeOf(error)}`);
  }
}

function readToken(settings: Settings): string | undefined {
  if (settings.tokenFile === undefined) return undefined;
  const token = readNamedFile('--token-file', settings.tokenFile).toString().trim();
  if (!/^\S{16,}$/.test(token)) {
    throw new UsageError(
      `--token-file "${settings.tokenFile}" must hold one token of at least 16 characters without spaces`,
    );
  }
  return token;
}

function openStorage(settings: Settings, nowMs: () => number): Storage {
  try {
    const storage = new Storage({
      file: settings.database,
      historyLimit: settings.historyLimit,
      firstVersion: Math.floor(nowMs() / 1000),
    });
    const key = { resource: 'namespaces', namespace: '', name: 'default' };
    if (storage.get(key) === undefined) {
      storage.put(key, {
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: { name: 'default', uid: crypto.randomUUID(), creationTimestamp: timestamp(nowMs()) },
        status: { phase: 'Active' },
      });
    }
    return storage;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const remedy = reason.includes('locked') ? ': another server has it open' : '';
    throw new UsageError(`Cannot open the database "${settings.database}": ${reason}${remedy}`);
  }
}

/** Resolves to the address as a client writes it. */
async function listen(server: Server, address: ListenAddress, scheme: 'http' | 'https'): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  if (address.kind === 'unix') {
    rmSync(address.path, { force: true });
    server.listen(address.path, resolve);
  } else {
    server.listen({ host: address.host, port: address.port }, resolve);
  }
  try {
    await promise;
  } catch (error) {
    const where = address.kind === 'unix' ? address.path : formatHost(address);
    throw new UsageError(`Cannot listen on ${where}: ${codeOf(error)}`);
  }
  if (address.kind === 'unix') {
    chmodSync(address.path, 0o600);
    return `unix:${address.path}`;
  }
  const bound = server.address();
  const port = typeof bound === 'object' && bound !== null ? bound.port : address.port;
  return `${scheme}://${formatHost({ host: address.host, port })}`;
}

async function run(settings: Settings): Promise<void> {
  const nowMs = (): number => Date.now();
  const token = readToken(settings);
  const tls =
    settings.tls === undefined
      ? undefined
      : {
          cert: readNamedFile('--tls-cert', settings.tls.certFile),
          key: readNamedFile('--tls-key', settings.tls.keyFile),
        };
  const storage = openStorage(settings, nowMs);
  const watches = new WatchHub({ storage, nowMs, bookmarkIntervalMs: settings.bookmarkIntervalMs });
  const faults = new Faults(() => process.kill(process.pid, 'SIGKILL'));
  if (settings.enableFaults) {
    storage.hooks = faults;
    watches.dropChange = (change) => faults.dropsEvent(change.key);
  }
  const { enableFaults: faultsEnabled } = settings;
  const api = new ApiServer({ storage, watches, faults, faultsEnabled, token, nowMs });
  const servers: Server[] = [];
  const addresses: string[] = [];
  for (const address of settings.listen) {
    const secured = address.kind === 'tcp' ? tls : undefined;
    const server = api.createListener(secured);
    servers.push(server);
    addresses.push(await listen(server, address, secured === undefined ? 'http' : 'https'));
  }

  setInterval(() => expireEvents(storage, nowMs()), EVENT_SWEEP_MS).unref();

  let stopping = false;
  const stop = (): void => {
    if (stopping) return;
    stopping = true;
    api.close();
    watches.close();
    const closed = servers.map(async (server) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      server.close(() => resolve());
      setTimeout(() => server.closeAllConnections(), GRACE_MS).unref();
      return promise;
    });
    void Promise.all(closed).then(() => storage.close());
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  console.log(
    JSON.stringify({ event: 'ready', listening: addresses, resourceVersion: String(storage.current) }),
  );
}

try {
  await run(parseCommandLine(process.argv.slice(2)));
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  console.error(error.message);
  process.exit(2);
}
