// The command line as settings, or the one sentence that says what is wrong with it. Pure.
import { isIP } from 'node:net';
import { parseArgs } from 'node:util';

export type ListenAddress =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number; readonly loopback: boolean };

export interface Settings {
  readonly database: string;
  readonly listen: readonly ListenAddress[];
  readonly tokenFile: string | undefined;
  readonly tls: { readonly certFile: string; readonly keyFile: string } | undefined;
  readonly enableFaults: boolean;
  readonly bookmarkIntervalMs: number;
  readonly historyLimit: number;
}

export class UsageError extends Error {}

export const USAGE: string =
  'node embedded-api/main.ts --database FILE --listen 127.0.0.1:6443|unix:/path [--listen …] --token-file FILE ' +
  '[--tls-cert FILE --tls-key FILE] [--enable-faults] [--bookmark-interval-ms 60000] [--history 20000]';

/** Throws UsageError. */
export function parseCommandLine(arguments_: readonly string[]): Settings {
  const values = readOptions(arguments_);
  const { database, 'token-file': tokenFile, 'tls-cert': certFile, 'tls-key': keyFile } = values;
  if (database === undefined)
    throw new UsageError('Name the database: --database FILE (":memory:" keeps nothing)');
  const listen = (values.listen ?? []).map(parseListenAddress);
  if (listen.length === 0)
    throw new UsageError('Name where to listen: --listen 127.0.0.1:6443 or --listen unix:/path');
  if ((certFile === undefined) !== (keyFile === undefined)) {
    throw new UsageError('Give both --tls-cert and --tls-key, or neither');
  }
  const tls = certFile === undefined || keyFile === undefined ? undefined : { certFile, keyFile };
  for (const address of listen) {
    if (address.kind !== 'tcp') continue;
    if (tokenFile === undefined) {
      throw new UsageError(
        `Listening on ${formatHost(address)} needs --token-file: every local user can connect there`,
      );
    }
    if (!address.loopback && tls === undefined) {
      throw new UsageError(
        `Listening on ${formatHost(address)} needs --tls-cert and --tls-key: without TLS the token would cross the network in the clear`,
      );
    }
  }
  return {
    database,
    listen,
    tokenFile,
    tls,
    enableFaults: values['enable-faults'] === true,
    bookmarkIntervalMs: parsePositive('--bookmark-interval-ms', values['bookmark-interval-ms'] ?? '60000'),
    historyLimit: parsePositive('--history', values.history ?? '20000'),
  };
}

function readOptions(arguments_: readonly string[]): {
  database?: string;
  listen?: string[];
  'token-file'?: string;
  'tls-cert'?: string;
  'tls-key'?: string;
  'enable-faults'?: boolean;
  'bookmark-interval-ms'?: string;
  history?: string;
} {
  try {
    const { values } = parseArgs({
      args: [...arguments_],
      options: {
        database: { type: 'string' },
        listen: { type: 'string', multiple: true },
        'token-file': { type: 'string' },
        'tls-cert': { type: 'string' },
        'tls-key': { type: 'string' },
        'enable-faults': { type: 'boolean' },
        'bookmark-interval-ms': { type: 'string' },
        history: { type: 'string' },
      },
    });
    return values;
  } catch (error) {
    throw new UsageError(`${(error as Error).message}. Usage: ${USAGE}`); // as: parseArgs throws TypeError
  }
}

function parsePositive(option: string, text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1 || value > 2 ** 31 - 1) {
    throw new UsageError(`${option} must be a whole number from 1 to 2147483647, not "${text}"`);
  }
  return value;
}

function parseListenAddress(text: string): ListenAddress {
  if (text.startsWith('unix:')) {
    const path = text.slice('unix:'.length);
    if (!path.startsWith('/'))
      throw new UsageError(`--listen "${text}" needs an absolute path after "unix:"`);
    return { kind: 'unix', path };
  }
  const match = /^(?:\[(?<ipv6>[^\]]+)\]|(?<host>[^:]+)):(?<port>\d{1,5})$/.exec(text)?.groups;
  const host = match?.['ipv6'] ?? match?.['host'];
  const port = Number(match?.['port']);
  if (host === undefined || (isIP(host) === 0 && host !== 'localhost') || port > 65535) {
    throw new UsageError(`--listen "${text}" must be ADDRESS:PORT with an IP address, or unix:/path`);
  }
  return {
    kind: 'tcp',
    host,
    port,
    loopback: host === 'localhost' || host === '::1' || host.startsWith('127.'),
  };
}

export const formatHost = (address: { readonly host: string; readonly port: number }): string =>
  isIP(address.host) === 6 ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
