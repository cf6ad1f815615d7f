// KUBECONFIG files and service accounts, read by the very program that the agent runs; credentials that change under way.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { createApiEndpoint } from '../../agent/kube/api-endpoint.ts';
import { openClusterEndpoint } from '../../agent/kube/endpoint-config.ts';
import { createHttpClient } from '../../agent/kube/http.ts';
import { OperationError } from '../../agent/operation-error.ts';

const directory = mkdtempSync(join(tmpdir(), 'weft-config-'));
after(() => rmSync(directory, { recursive: true, force: true }));

const file = (name: string, text: string): string => {
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
};

interface Parts {
  readonly cluster?: string;
  readonly user?: string;
  readonly context?: string;
}

const kubeconfig = ({
  cluster = 'server: https://192.0.2.1:6443/',
  user = 'token: abc',
  context = 'main',
}: Parts): string =>
  file(
    'config.yaml',
    `apiVersion: v1
kind: Config
current-context: ${context}
contexts: [{name: main, context: {cluster: c, user: u}}]
clusters:
- name: c
  cluster: {${cluster}}
users:
- name: u
  user:
    ${user}
`,
  );

const opened = (path: string): ReturnType<typeof openClusterEndpoint> =>
  openClusterEndpoint({ environment: { KUBECONFIG: path } });

const problem = async (promise: Promise<unknown>): Promise<string> => {
  const error: unknown = await promise.then(
    () => assert.fail('it was accepted'),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof OperationError);
  assert.equal(error.code, 'CONFIG_INVALID');
  return error.message;
};

test('openClusterEndpoint reads a KUBECONFIG with a token', async () => {
  const endpoint = await opened(kubeconfig({}));
  assert.deepEqual(endpoint.address, {
    kind: 'tcp',
    secure: true,
    host: '192.0.2.1',
    port: 6443,
    pathPrefix: '',
  });
  assert.equal(await endpoint.authorization(), 'Bearer abc');
  assert.deepEqual(await endpoint.tls(), { rejectUnauthorized: true });
});

test('openClusterEndpoint reads a unix socket and a tokenFile beside the configuration', async () => {
  file('token', 'first\n');
  const endpoint = await opened(
    kubeconfig({ cluster: 'server: "unix:/run/api.sock"', user: 'tokenFile: token' }),
  );
  assert.deepEqual(endpoint.address, { kind: 'unix', socketPath: '/run/api.sock' });
  assert.equal(await endpoint.authorization(), 'Bearer first');
  assert.equal(await endpoint.tls(), undefined);
});

test('openClusterEndpoint reads certificates in place and from files, and basic credentials', async () => {
  const text = Buffer.from('PEM').toString('base64');
  file('client.key', 'KEY');
  const endpoint = await opened(
    kubeconfig({
      cluster: `server: "https://[::1]/api/", certificate-authority-data: ${text}, tls-server-name: kube`,
      user: `client-certificate-data: ${text}\n    client-key: client.key\n    username: me\n    password: "ü"`,
    }),
  );
  assert.deepEqual(endpoint.address, {
    kind: 'tcp',
    secure: true,
    host: '::1',
    port: 443,
    pathPrefix: '/api',
  });
  assert.deepEqual(await endpoint.tls(), {
    ca: 'PEM',
    cert: 'PEM',
    key: 'KEY',
    servername: 'kube',
    rejectUnauthorized: true,
  });
  assert.equal(await endpoint.authorization(), `Basic ${Buffer.from('me:ü').toString('base64')}`);
});

test('openClusterEndpoint reads the service account of a pod', async () => {
  const root = join(directory, 'pod');
  const account = join(root, 'var/run/secrets/kubernetes.io/serviceaccount');
  mkdirSync(account, { recursive: true });
  writeFileSync(join(account, 'ca.crt'), 'CA');
  writeFileSync(join(account, 'token'), 'projected');
  const environment = {
    KUBERNETES_SERVICE_HOST: 'fd00::1',
    KUBERNETES_SERVICE_PORT: '443',
    WEFT_SERVICE_ACCOUNT_ROOT: root,
  };
  const endpoint = await openClusterEndpoint({ environment });
  assert.deepEqual(endpoint.address, {
    kind: 'tcp',
    secure: true,
    host: 'fd00::1',
    port: 443,
    pathPrefix: '',
  });
  assert.equal(await endpoint.authorization(), 'Bearer projected');
  rmSync(join(account, 'token'));
  assert.match(
    await problem(openClusterEndpoint({ environment })),
    /service account.*cannot read ".*token": ENOENT/,
  );
});

for (const [what, parts, wanted] of [
  [
    'a context that is missing',
    { context: 'other' },
    /current-context "other" is not one of its contexts \(main\): set it/,
  ],
  [
    'a credential program',
    { user: 'exec: {command: aws}' },
    /user "u" needs a credential program.*use a token/,
  ],
  [
    'a server that is no address',
    { cluster: 'server: kube' },
    /server "kube" is not an address: write https:/,
  ],
  [
    'a CA file that is missing',
    { cluster: 'server: https://a, certificate-authority: /nonexistent' },
    /cannot read "\/nonexistent": ENOENT.*; mount/,
  ],
  [
    'a proxy',
    { cluster: 'server: https://a, proxy-url: http://b' },
    /proxy-url of cluster "c" is not supported/,
  ],
  ['broken YAML', { user: '[}' }, /cannot read ".*config.yaml".*set KUBECONFIG/s],
] as const) {
  test(`openClusterEndpoint names the file and the remedy for ${what}`, async () => {
    const message = await problem(opened(kubeconfig(parts)));
    assert.match(message, wanted);
    assert.match(message, /^Cannot use the API configuration of KUBECONFIG="\/.*config\.yaml": /);
  });
}

test('openClusterEndpoint names what to set where there is nothing, and a file that is missing', async () => {
  assert.match(
    await problem(openClusterEndpoint({ environment: {} })),
    /both unset: run as a pod, or set KUBECONFIG/,
  );
  assert.match(await problem(opened('/nonexistent/config')), /cannot read "\/nonexistent\/config": ENOENT/);
});

test('ApiEndpoint reads a projected token again when it is swapped, and outlives a moment without it', async () => {
  // As the kubelet does: token → ..data/token, ..data is a link that is renamed over.
  const volume = join(directory, 'volume');
  const publish = (generation: string, text: string): void => {
    mkdirSync(join(volume, generation), { recursive: true });
    writeFileSync(join(volume, generation, 'token'), text);
    symlinkSync(generation, join(volume, '..new'));
    renameSync(join(volume, '..new'), join(volume, '..data'));
  };
  publish('1', 'one');
  symlinkSync('..data/token', join(volume, 'token'));
  const endpoint = await createApiEndpoint({
    source: 'test',
    server: 'http://localhost',
    token: { file: join(volume, 'token') },
  });
  assert.equal(await endpoint.authorization(), 'Bearer one');
  publish('2', 'two');
  assert.equal(await endpoint.authorization(), 'Bearer two');
  rmSync(join(volume, '2'), { recursive: true });
  assert.equal(await endpoint.authorization(), 'Bearer two');
});

test('HttpClient trusts only the CA it was given, and takes a new one when the file changes', async (t) => {
  const make = (name: string): { cert: string; key: string } => {
    const [cert, key] = [join(directory, `${name}.crt`), join(directory, `${name}.key`)];
    execFileSync(
      'openssl',
      // prettier-ignore
      ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2',
       '-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert],
      { stdio: 'ignore' },
    );
    return { cert, key };
  };
  const right = make('right');
  const wrong = make('wrong');
  const server = https.createServer(
    { cert: readFileSync(right.cert), key: readFileSync(right.key) },
    (_, response) => response.end('{}'),
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const ca = file('ca.crt', readFileSync(wrong.cert, 'utf8'));
  const { port } = server.address() as AddressInfo; // as: it listens on TCP
  const endpoint = await createApiEndpoint({
    source: 'test',
    server: `https://127.0.0.1:${port}`,
    ca: { file: ca },
  });
  const http = createHttpClient({ endpoint, userAgent: 'x' });
  t.after(() => {
    http.close();
    server.close();
    server.closeAllConnections();
  });
  const request = { action: 'get it', method: 'GET', path: '/' } as const;
  await assert.rejects(
    http.json(request),
    (error) => error instanceof OperationError && error.code === 'UNAVAILABLE',
  );
  writeFileSync(`${ca}.new`, readFileSync(right.cert));
  renameSync(`${ca}.new`, ca);
  assert.deepEqual(await http.json(request), {});
});

test('openClusterEndpoint says where a damaged KUBECONFIG is wrong, and never quotes its token', async () => {
  for (const text of [
    'users:\n- name: u\n  user:\n    token: c0ffee\n   bad: [indent\n',
    '{"users": [{"name": "u", "user": {"token": "c0ffee"}}',
    'token: c0ffee: x\n',
  ]) {
    const words = await problem(opened(file('damaged.yaml', text)));
    assert.match(words, /damaged\.yaml.*\(\d+:\d+\); set KUBECONFIG/);
    assert.doesNotMatch(words, /c0ffee/);
  }
});
