// The control plane, in the enclosure itself, at the underlay's gateway address: etcd, API server, controller manager, scheduler.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { ENCLOSURE, tryCommand } from '../lab/command.ts';
import { until } from '../lab/condition.ts';
import { LAB_DIRECTORY } from '../lab/enclosure.ts';
import { UNDERLAY_GATEWAY } from '../lab/node-namespace.ts';
import { type LabProcess, logTail, startProcess } from '../lab/process.ts';
import { type CertificateAuthority, createCertificateAuthority } from './certificates.ts';
import { flags } from './programs.ts';

export const SERVICE_RANGE = '10.96.0.0/16';
const API_SERVICE_ADDRESS = '10.96.0.1';
const API_PORT = 6443;
const ETCD = 'http://127.0.0.1:2379';
const START_BOUND_MS = 120_000;
/** One line of JSON for each request of an agent. */
export const AUDIT_LOG: string = join(LAB_DIRECTORY, 'audit.jsonl');

const AUDIT_POLICY = {
  apiVersion: 'audit.k8s.io/v1',
  kind: 'Policy',
  rules: [{ level: 'Metadata', users: ['system:serviceaccount:weft:weft-agent'] }, { level: 'None' }],
};

export interface ControlPlane {
  readonly authority: CertificateAuthority;
  /** Command of kubectl as the administrator. */
  readonly kubectl: readonly string[];
  readonly processes: Readonly<Record<'etcd' | 'apiserver' | 'controllers' | 'scheduler', LabProcess>>;
  /** Starts the API server again, after it was stopped or killed, and resolves when it is ready. */
  readonly startApiServer: () => Promise<void>;
}

/** Resolves when the API server is ready. `programs` is the folder that has them. */
export async function startControlPlane(programs: string): Promise<ControlPlane> {
  const folder = join(LAB_DIRECTORY, 'control-plane');
  mkdirSync(folder);
  writeFileSync(join(folder, 'audit.json'), JSON.stringify(AUDIT_POLICY));
  const authority = await createCertificateAuthority(folder, `https://${UNDERLAY_GATEWAY}:${API_PORT}`);
  const kubectl = [
    join(programs, 'kubectl'),
    ...flags({ kubeconfig: await issueIdentities(authority), 'cache-dir': join(folder, 'kubectl-cache') }),
  ];
  const start = (name: string, words: readonly string[]): LabProcess =>
    startProcess({
      place: ENCLOSURE,
      command: [join(programs, name), ...words],
      logFile: join(LAB_DIRECTORY, `${name}.log`),
    });

  const etcd = start('etcd', [
    '--unsafe-no-fsync',
    ...flags({
      'data-dir': join(folder, 'etcd'),
      'log-level': 'warn',
      'listen-client-urls': ETCD,
      'advertise-client-urls': ETCD,
      'listen-peer-urls': 'http://127.0.0.1:2380',
    }),
  ]);
  const startApiServer = (): LabProcess => start('kube-apiserver', apiServerFlags(authority));
  const processes = { etcd, apiserver: startApiServer() };
  const isReady = async (): Promise<boolean> =>
    (await tryCommand(ENCLOSURE, [...kubectl, 'get', '--raw', '/readyz'])).status === 0;
  const ready = async (): Promise<void> => {
    const { ended, logFile } = processes.apiserver;
    await Promise.race([
      until(isReady, { what: 'the API server to be ready', boundMs: START_BOUND_MS, intervalMs: 250 }),
      ended.then(() => Promise.reject(new Error(`The API server has ended:\n${logTail(logFile)}`))),
    ]);
  };
  await ready();

  const kubeconfigFlags = (name: string): readonly string[] => {
    const file = authority.file(`${name}.kubeconfig`);
    return flags({
      kubeconfig: file,
      'authentication-kubeconfig': file,
      'authorization-kubeconfig': file,
      'leader-elect': 'false',
    });
  };
  const all = Object.assign(processes, {
    controllers: start('kube-controller-manager', [
      ...kubeconfigFlags('controllers'),
      ...flags({
        'use-service-account-credentials': 'true',
        'root-ca-file': authority.file('ca.crt'),
        'service-account-private-key-file': authority.file('service-accounts.key'),
        // Weft gives out its own blocks: nodes get no podCIDR.
        controllers: '*,-node-ipam-controller',
      }),
    ]),
    scheduler: start('kube-scheduler', kubeconfigFlags('scheduler')),
  });
  return {
    authority,
    kubectl,
    processes: all,
    startApiServer: async () => {
      all.apiserver = startApiServer();
      await ready();
    },
  };
}

/** Resolves to the administrator's kubeconfig. */
async function issueIdentities(authority: CertificateAuthority): Promise<string> {
  await authority.issue({
    name: 'apiserver',
    commonName: 'kube-apiserver',
    alternativeNames: 'DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc'
      .split(',')
      .concat([API_SERVICE_ADDRESS, UNDERLAY_GATEWAY, '127.0.0.1'].map((address) => `IP:${address}`))
      .join(','),
  });
  await authority.issueKubeconfig({ name: 'controllers', commonName: 'system:kube-controller-manager' });
  await authority.issueKubeconfig({ name: 'scheduler', commonName: 'system:kube-scheduler' });
  await authority.issueKubeconfig({ name: 'kube-proxy', commonName: 'system:kube-proxy' });
  return authority.issueKubeconfig({ name: 'admin', commonName: 'admin', organization: 'system:masters' });
}

const apiServerFlags = ({ file }: CertificateAuthority): readonly string[] =>
  flags({
    'advertise-address': UNDERLAY_GATEWAY,
    'secure-port': String(API_PORT),
    'etcd-servers': ETCD,
    'service-cluster-ip-range': SERVICE_RANGE,
    'client-ca-file': file('ca.crt'),
    'tls-cert-file': file('apiserver.crt'),
    'tls-private-key-file': file('apiserver.key'),
    'kubelet-client-certificate': file('admin.crt'),
    'kubelet-client-key': file('admin.key'),
    'kubelet-preferred-address-types': 'InternalIP',
    'authorization-mode': 'Node,RBAC',
    'enable-admission-plugins': 'NodeRestriction',
    'allow-privileged': 'true',
    'audit-policy-file': file('audit.json'),
    'audit-log-path': AUDIT_LOG,
    'service-account-issuer': 'https://kubernetes.default.svc',
    'service-account-key-file': file('service-accounts.pub'),
    'service-account-signing-key-file': file('service-accounts.key'),
  });
