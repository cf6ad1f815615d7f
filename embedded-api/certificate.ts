// A certificate authority and a server certificate for labs, made with the openssl command, and the kubeconfig that goes with them.
// kubectl sends its token over TLS only, so a lab that wants kubectl needs these also on loopback. Keys are readable by the owner only.
import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';

export interface ServerCertificate {
  readonly caFile: string;
  readonly certFile: string;
  readonly keyFile: string;
}

const VALID_DAYS = '825';
const runFile = promisify(execFile);

/** Throws with the remedy. */
async function openssl(directory: string, arguments_: readonly string[]): Promise<void> {
  try {
    await runFile('openssl', arguments_, { cwd: directory });
  } catch (error) {
    const { code, stderr } = error as { code?: unknown; stderr?: string }; // as: what execFile rejects with
    const missing = code === 'ENOENT';
    throw new Error(
      missing
        ? 'Cannot make a certificate: the openssl command is missing; install the package openssl'
        : `Cannot make a certificate: openssl ${arguments_[0]} failed: ${stderr?.trim()}`,
      { cause: error },
    );
  }
}

const newKey = (file: string): readonly string[] => [
  '-newkey',
  'ec',
  '-pkeyopt',
  'ec_paramgen_curve:P-256',
  '-nodes',
  '-keyout',
  file,
];

/**
 * Makes `ca.crt`, `ca.key`, `server.crt`, `server.key` in a directory (made with mode 0700 when it is missing). The server
 * certificate is valid for the addresses (IP addresses or DNS names) and localhost.
 */
export async function createServerCertificate(options: {
  readonly directory: string;
  readonly addresses: readonly string[];
}): Promise<ServerCertificate> {
  const { directory } = options;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const names = new Set([...options.addresses, '127.0.0.1', 'localhost']);
  const subjects = [...names].map((name) => (isIP(name) === 0 ? `DNS:${name}` : `IP:${name}`)).join(',');
  await writeFile(
    join(directory, 'server.ext'),
    `subjectAltName=${subjects}\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n`,
  );
  const authority = ['-subj', '/CN=weft lab CA', '-days', VALID_DAYS, '-out', 'ca.crt'];
  await openssl(directory, ['req', '-x509', ...newKey('ca.key'), ...authority]);
  await openssl(directory, [
    'req',
    ...newKey('server.key'),
    '-subj',
    '/CN=weft embedded API',
    '-out',
    'server.csr',
  ]);
  const signing = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-days', VALID_DAYS];
  await openssl(directory, [
    'x509',
    '-req',
    '-in',
    'server.csr',
    ...signing,
    '-extfile',
    'server.ext',
    '-out',
    'server.crt',
  ]);
  return {
    caFile: join(directory, 'ca.crt'),
    certFile: join(directory, 'server.crt'),
    keyFile: join(directory, 'server.key'),
  };
}

/** A kubeconfig for kubectl and client libraries, as JSON (which is YAML). `caFile` is embedded; leave it out for plain http. */
export async function formatKubeconfig(options: {
  readonly server: string;
  readonly token: string;
  readonly caFile?: string;
}): Promise<string> {
  const { server, token, caFile } = options;
  const authority =
    caFile === undefined ? {} : { 'certificate-authority-data': (await readFile(caFile)).toString('base64') };
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'weft', cluster: { server, ...authority } }],
    users: [{ name: 'weft', user: { token } }],
    contexts: [{ name: 'weft', context: { cluster: 'weft', user: 'weft' } }],
    'current-context': 'weft',
  });
}
