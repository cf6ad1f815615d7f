// The API server of the lab: embedded-api in a process of its own on the underlay, with TLS and a token, as a real cluster's is
// reached. Its database is on the lab's tmpfs, so it survives a kill.
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

import type { RequestCount } from '../../embedded-api/faults.ts';
import { type ApiClient, createApiClient } from './api-client.ts';
import { ENCLOSURE, runCommand } from './command.ts';
import { condition } from './condition.ts';
import { LAB_DIRECTORY } from './enclosure.ts';
import { UNDERLAY_GATEWAY } from './node-namespace.ts';
import { type LabProcess, startProcess } from './process.ts';

const MAIN = fileURLToPath(new URL('../../embedded-api/main.ts', import.meta.url));
const PORT = 6443;

export interface LabApi extends ApiClient {
  readonly kubeconfig: string;
  readonly logFile: string;
  readonly start: () => Promise<void>;
  readonly stop: () => Promise<void>;
  readonly kill: () => Promise<void>;
  /** Writes of all kinds since the server's start, refused ones too. Only with `faults`. */
  readonly writes: () => Promise<readonly RequestCount[]>;
}

const WRITES = new Set(['create', 'update', 'patch', 'delete', 'deletecollection']);

const inLab = (name: string): string => `${LAB_DIRECTORY}/${name}`;

async function makeCertificate(): Promise<void> {
  await runCommand(ENCLOSURE, [
    ...'openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2'.split(' '),
    ...`-subj /CN=weft-lab -addext subjectAltName=IP:${UNDERLAY_GATEWAY},IP:127.0.0.1`.split(' '),
    ...`-keyout ${inLab('api.key')} -out ${inLab('api.crt')}`.split(' '),
  ]);
}

const kubeconfigText = (token: string): string =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'lab',
    clusters: [
      {
        name: 'lab',
        cluster: {
          server: `https://${UNDERLAY_GATEWAY}:${PORT}`,
          'certificate-authority': inLab('api.crt'),
        },
      },
    ],
    users: [{ name: 'lab', user: { token } }],
    contexts: [{ name: 'lab', context: { cluster: 'lab', user: 'lab' } }],
  });

/** With `faults` the server counts requests and misbehaves on demand (embedded-api/fault-requests.ts). */
export async function createLabApi({ faults }: { readonly faults: boolean }): Promise<LabApi> {
  const token = randomBytes(16).toString('hex');
  await makeCertificate();
  writeFileSync(inLab('token'), token, { mode: 0o600 });
  writeFileSync(inLab('kubeconfig'), kubeconfigText(token), { mode: 0o600 });
  const certificateAuthority = readFileSync(inLab('api.crt'), 'utf8');
  const client = createApiClient({ host: UNDERLAY_GATEWAY, port: PORT, token, certificateAuthority });
  const logFile = inLab('api.log');
  let server: LabProcess | undefined;
  const start = async (): Promise<void> => {
    server = startProcess({ place: ENCLOSURE, command: serverCommand(faults), logFile });
    await condition(
      async () => {
        if (server?.running() === false) throw new Error('The API server has ended');
        return (await client.send('GET', '/readyz')).status === 200 ? true : undefined;
      },
      { what: 'the API server to answer', intervalMs: 10 },
    );
  };
  return {
    ...client,
    kubeconfig: inLab('kubeconfig'),
    logFile,
    start,
    stop: async () => server?.stop(),
    kill: async () => server?.kill(),
    writes: async () => {
      const { body } = await client.send('GET', '/faults/requests');
      return (body as readonly RequestCount[]).filter(({ verb }) => WRITES.has(verb)); // as: the server's own type
    },
    close: () => client.close(),
  };
}

const serverCommand = (faults: boolean): readonly string[] => [
  process.execPath,
  '--disable-warning=ExperimentalWarning',
  MAIN,
  ...`--listen ${UNDERLAY_GATEWAY}:${PORT} --database ${inLab('api.sqlite')}`.split(' '),
  ...`--tls-cert ${inLab('api.crt')} --tls-key ${inLab('api.key')} --token-file ${inLab('token')}`.split(' '),
  ...(faults ? ['--enable-faults'] : []),
];
