// The cluster's certificate authority and the identities that it gives out, by openssl, and kubeconfig files that hold them.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { ENCLOSURE, runCommand, runScript } from '../lab/command.ts';

export interface CertificateRequest {
  /** Of its two files, NAME.crt and NAME.key. */
  readonly name: string;
  readonly commonName: string;
  readonly organization?: string;
  /** Subject alternative names as openssl writes them: "DNS:kubernetes,IP:10.96.0.1". */
  readonly alternativeNames?: string;
}

export interface CertificateAuthority {
  /** Path of a file in its folder. */
  readonly file: (name: string) => string;
  readonly issue: (request: CertificateRequest) => Promise<void>;
  /** Issues a client certificate and writes a kubeconfig with it; resolves to its path. */
  readonly issueKubeconfig: (request: CertificateRequest) => Promise<string>;
}

const REQUEST = 'openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30'.split(
  ' ',
);

/** In `folder`: ca.crt and ca.key, service-accounts.key and .pub, and what is issued. `server` goes into the kubeconfigs. */
export async function createCertificateAuthority(
  folder: string,
  server: string,
): Promise<CertificateAuthority> {
  const file = (name: string): string => join(folder, name);
  await runCommand(ENCLOSURE, [
    ...REQUEST,
    ...`-subj /CN=weft-test-cluster -keyout ${file('ca.key')} -out ${file('ca.crt')}`.split(' '),
    ...'-addext keyUsage=critical,keyCertSign,cRLSign'.split(' '),
  ]);
  await runScript(ENCLOSURE, [
    `openssl genrsa -out ${file('service-accounts.key')} 2048`,
    `openssl rsa -pubout -in ${file('service-accounts.key')} -out ${file('service-accounts.pub')}`,
  ]);

  const issue = async ({
    name,
    commonName,
    organization,
    alternativeNames,
  }: CertificateRequest): Promise<void> => {
    const subject = `${organization === undefined ? '' : `/O=${organization}`}/CN=${commonName}`;
    await runCommand(ENCLOSURE, [
      ...REQUEST,
      ...`-CA ${file('ca.crt')} -CAkey ${file('ca.key')} -subj ${subject}`.split(' '),
      ...`-keyout ${file(`${name}.key`)} -out ${file(`${name}.crt`)}`.split(' '),
      ...'-addext basicConstraints=critical,CA:FALSE -addext extendedKeyUsage=serverAuth,clientAuth'.split(
        ' ',
      ),
      ...(alternativeNames === undefined ? [] : ['-addext', `subjectAltName=${alternativeNames}`]),
    ]);
  };

  const base64 = (name: string): string => readFileSync(file(name)).toString('base64');
  const issueKubeconfig = async (request: CertificateRequest): Promise<string> => {
    await issue(request);
    const { name } = request;
    const path = file(`${name}.kubeconfig`);
    const text = JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'cluster',
      clusters: [{ name: 'cluster', cluster: { server, 'certificate-authority-data': base64('ca.crt') } }],
      users: [
        {
          name,
          user: {
            'client-certificate-data': base64(`${name}.crt`),
            'client-key-data': base64(`${name}.key`),
          },
        },
      ],
      contexts: [{ name: 'cluster', context: { cluster: 'cluster', user: name } }],
    });
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  return { file, issue, issueKubeconfig };
}
