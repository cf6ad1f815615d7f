// Where the API server is and how to prove who we are: the port between configuration and requests. Files named by the configuration
// (projected token, CA, client certificate) are read again when they change, so a rotation needs no restart.
import { readFile, stat } from 'node:fs/promises';

import { OperationError, codeOf } from '../operation-error.ts';

export interface TlsMaterial {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly servername?: string;
  readonly rejectUnauthorized: boolean;
}

export type ApiAddress =
  | { readonly kind: 'unix'; readonly socketPath: string }
  | {
      readonly kind: 'tcp';
      readonly secure: boolean;
      readonly host: string;
      readonly port: number;
      readonly pathPrefix: string;
    };

export interface ApiEndpoint {
  /** For logs: the address and where the configuration came from. */
  readonly description: string;
  readonly address: ApiAddress;
  /** Value of the Authorization header. */
  authorization(): Promise<string | undefined>;
  /** The same object until a file changes; undefined without TLS. */
  tls(): Promise<TlsMaterial | undefined>;
}

/** Configuration as plain data: what KUBECONFIG or the service account says, nothing read yet but the configuration itself. */
export interface ClusterFacts {
  readonly source: string;
  /** http(s)://host[:port][/prefix], or unix:/path/of/socket. */
  readonly server: string;
  readonly skipTlsVerify?: boolean;
  readonly tlsServerName?: string;
  /** PEM, from the file or in place. */
  readonly ca?: FileOrText;
  readonly certificate?: FileOrText;
  readonly key?: FileOrText;
  readonly token?: FileOrText;
  readonly username?: string;
  readonly password?: string;
}

export type FileOrText = { readonly file: string } | { readonly text: string };

/** Throws OperationError CONFIG_INVALID naming the source and the remedy. Reads every file once, so that a missing one shows now. */
export async function createApiEndpoint(facts: ClusterFacts): Promise<ApiEndpoint> {
  const address = parseAddress(facts);
  const token = facts.token && createMaterial(facts.token, facts.source);
  const parts = [facts.ca, facts.certificate, facts.key].map(
    (part) => part && createMaterial(part, facts.source),
  );
  let material: TlsMaterial | undefined;
  let seen: readonly (string | undefined)[] = [];

  const endpoint: ApiEndpoint = {
    description: `${facts.server} (${facts.source})`,
    address,
    async authorization() {
      if (token !== undefined) return `Bearer ${(await token()).trim()}`;
      if (facts.username === undefined) return undefined;
      return `Basic ${Buffer.from(`${facts.username}:${facts.password ?? ''}`).toString('base64')}`;
    },
    async tls() {
      if (address.kind === 'unix' || !address.secure) return undefined;
      const now = await Promise.all(parts.map((part) => part?.() ?? Promise.resolve(undefined)));
      if (material !== undefined && now.every((text, at) => text === seen[at])) return material;
      const [ca, cert, key] = now;
      seen = now;
      material = {
        ...(ca === undefined ? {} : { ca }),
        ...(cert === undefined ? {} : { cert }),
        ...(key === undefined ? {} : { key }),
        ...(facts.tlsServerName === undefined ? {} : { servername: facts.tlsServerName }),
        rejectUnauthorized: facts.skipTlsVerify !== true,
      };
      return material;
    },
  };
  await Promise.all([endpoint.authorization(), endpoint.tls()]);
  return endpoint;
}

function parseAddress(facts: ClusterFacts): ApiAddress {
  const unix = /^unix:(?:\/\/)?(\/.+)$/.exec(facts.server)?.[1];
  if (unix !== undefined) return { kind: 'unix', socketPath: unix };
  const url = URL.parse(facts.server);
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw configInvalid(
      facts.source,
      `server "${facts.server}" is not an address: write https://host:port or unix:/path/of/socket`,
    );
  }
  const secure = url.protocol === 'https:';
  const port = url.port === '' ? (secure ? 443 : 80) : Number(url.port);
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  return { kind: 'tcp', secure, host, port, pathPrefix: url.pathname.replace(/\/+$/, '') };
}

/** Text that is read again when its file's inode, size or time changes; a file that is gone for a moment keeps its last text. */
function createMaterial(from: FileOrText, source: string): () => Promise<string> {
  if ('text' in from) {
    const { text } = from;
    return () => Promise.resolve(text);
  }
  let version = '';
  let text: string | undefined;
  return async () => {
    try {
      const { ino, size, mtimeMs } = await stat(from.file);
      const current = `${ino}.${size}.${mtimeMs}`;
      if (current !== version) {
        const content = await readFile(from.file, 'utf8');
        if (content.trim() === '') throw new Error('it is empty');
        text = content;
        version = current;
      }
    } catch (error) {
      if (text === undefined) {
        const reason = error instanceof Error ? error.message : String(error);
        throw configInvalid(
          source,
          `cannot read "${from.file}": ${reason}; mount or write that file, or remove its name from the configuration`,
          error,
        );
      }
    }
    return text ?? '';
  };
}

export const configInvalid = (source: string, problem: string, cause?: unknown): OperationError =>
  new OperationError(`Cannot use the API configuration of ${source}: ${problem}`, {
    code: 'CONFIG_INVALID',
    context: { source, errno: cause === undefined ? undefined : codeOf(cause) },
    ...(cause === undefined ? {} : { cause }),
  });
