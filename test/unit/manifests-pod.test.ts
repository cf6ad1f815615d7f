// The agent's pod: what it may do on its node, how it is replaced, and that its paths, ports and image are the sources' own.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { it } from 'node:test';

import { parseSettings } from '../../agent/settings.ts';
import { VERSION } from '../../agent/version.ts';
import {
  type Fields,
  at,
  fields,
  leaves,
  list,
  nameOf,
  parseDocuments,
  readManifest,
  word,
} from './manifests-documents.ts';

const found = parseDocuments(readManifest('weft.yaml')).find(
  (each) => nameOf(each) === 'DaemonSet/weft/weft',
);
assert.ok(found !== undefined, 'weft.yaml has no DaemonSet');
const daemonSet: Fields = found;
const pod = fields(at(daemonSet, 'spec.template.spec'));
const agent = fields(at(pod, 'containers.agent'));
const installer = fields(at(pod, 'initContainers.install-shim'));
const defaults = parseSettings({ HOSTNAME: 'n1' });
const dockerfile = readFileSync(new URL('../../Dockerfile', import.meta.url), 'utf8');

it('there is one container and one that prepares', () => {
  assert.deepEqual([list(pod['containers']).length, list(pod['initContainers']).length], [1, 1]);
});

it('no container is privileged: every capability is dropped, NET_ADMIN alone comes back', () => {
  const common = {
    runAsUser: 0,
    runAsGroup: 0,
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
  };
  assert.deepEqual(agent['securityContext'], {
    ...common,
    privileged: false,
    capabilities: { drop: ['ALL'], add: ['NET_ADMIN'] },
  });
  assert.deepEqual(installer['securityContext'], { ...common, capabilities: { drop: ['ALL'] } });
});

it('of the host it shares the network and nothing else', () => {
  const shared = Object.keys(pod).filter(
    (name) => name.startsWith('host') || name === 'shareProcessNamespace',
  );
  assert.deepEqual(shared, ['hostNetwork']);
  assert.equal(pod['dnsPolicy'], 'Default');
});

it('these host paths are mounted, and writable only where something is written', () => {
  const hostPaths = list(pod['volumes']).filter(({ hostPath }) => hostPath !== undefined);
  assert.deepEqual(
    hostPaths.map((volume) => [volume['name'], at(volume, 'hostPath.path'), at(volume, 'hostPath.type')]),
    [
      ['tun', '/dev/net', 'DirectoryOrCreate'],
      ['state', '/var/lib/weft', 'DirectoryOrCreate'],
      ['run', '/run/weft', 'DirectoryOrCreate'],
      ['cni-conf', '/etc/cni/net.d', 'DirectoryOrCreate'],
      ['cni-bin', '/opt/cni/bin', 'DirectoryOrCreate'],
    ],
  );
  const mounts = (container: Fields): readonly string[] =>
    list(container['volumeMounts']).map(
      ({ name, mountPath, readOnly }) =>
        `${word(name)} ${word(mountPath)} ${readOnly === true ? 'ro' : 'rw'}`,
    );
  assert.deepEqual(mounts(agent), [
    'tun /dev/net rw',
    'state /var/lib/weft rw',
    'run /run/weft rw',
    'cni-conf /host/etc/cni/net.d rw',
    'cni-bin /host/opt/cni/bin ro',
    'cni-config /etc/weft ro',
    'cache /var/cache/weft rw',
  ]);
  assert.deepEqual(mounts(installer), ['cni-bin /host/opt/cni/bin rw']);
});

it('the mounts are where the settings say, and where the shim on the host looks', () => {
  const path = (name: string): unknown => at(pod, `volumes.${name}.hostPath.path`);
  assert.deepEqual([path('run'), path('state')], [defaults.runDirectory, defaults.stateDirectory]);
  const shim = readFileSync(new URL('../../cni-shim/main.c', import.meta.url), 'utf8');
  assert.ok(shim.includes(`"${defaults.runDirectory}/cni.sock"`));
  assert.ok(shim.includes(`"${defaults.stateDirectory}/tombstones"`));
});

it('probes ask for readiness where the agent answers, and none of them can end the agent', () => {
  const { host, port } = defaults.statusAddress;
  assert.deepEqual(at(agent, 'readinessProbe.httpGet'), { host, port, path: '/readyz' });
  assert.equal(agent['livenessProbe'], undefined);
  // A startup probe that gives up kills: this one gives up after 68 years.
  assert.equal(at(agent, 'startupProbe.failureThreshold'), 2 ** 31 - 1);
});

it('the startup probe asks in the pod itself, and ends by itself before the kubelet ends it', () => {
  const [, script = ''] = fields(at(agent, 'startupProbe.exec'))['command'] as readonly string[]; // as: of the schema's kind
  const source = readFileSync(
    new URL(script.replace('/opt/weft', '../..').replace(/js$/, 'ts'), import.meta.url),
    'utf8',
  );
  const waitMs = Number(/^const WAIT_MS = ([\d_]+);/m.exec(source)?.[1]?.replaceAll('_', ''));
  assert.ok(waitMs + 10_000 <= Number(at(agent, 'startupProbe.timeoutSeconds')) * 1000, String(waitMs));
  const file = list(agent['env']).find(({ name }) => name === 'WEFT_READY_FILE');
  assert.ok(word(file?.['value']).startsWith('/var/cache/weft/')); // the pod's own, see the mounts
});

it('metrics are announced where they are served', () => {
  const annotations = fields(at(daemonSet, 'spec.template.metadata.annotations'));
  assert.equal(annotations['prometheus.io/port'], String(defaults.metricsAddress.port));
});

it('the new agent comes up beside the old: a surge, and no port that would be in its way', () => {
  assert.deepEqual(at(daemonSet, 'spec.updateStrategy'), {
    type: 'RollingUpdate',
    rollingUpdate: { maxSurge: 1, maxUnavailable: 0 },
  });
  const ports = [...leaves(pod).keys()].filter((path) => /\.(?:ports|hostPort|containerPort)\b/.test(path));
  assert.deepEqual(ports, []);
});

it('it runs on every Linux node, whatever is wrong with that, and is not evicted', () => {
  assert.deepEqual(pod['tolerations'], [{ operator: 'Exists' }]);
  assert.equal(pod['priorityClassName'], 'system-node-critical');
  assert.equal(pod['nodeSelector'], undefined);
});

it('memory is bounded, the processor is not', () => {
  assert.deepEqual(agent['resources'], {
    requests: { cpu: '100m', memory: '200Mi' },
    limits: { memory: '640Mi' },
  });
});

it('the selector finds the pods', () => {
  const labels = fields(at(daemonSet, 'spec.template.metadata.labels'));
  for (const [name, value] of Object.entries(fields(at(daemonSet, 'spec.selector.matchLabels')))) {
    assert.equal(labels[name], value);
  }
});

it('the image is the one that the Dockerfile makes, of this version', () => {
  for (const container of [agent, installer]) assert.equal(container['image'], `localhost/weft:${VERSION}`);
  assert.match(dockerfile, new RegExp(`^ARG VERSION=${VERSION.replaceAll('.', '\\.')}$`, 'm'));
});
