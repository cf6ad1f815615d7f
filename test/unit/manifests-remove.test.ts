// The manifest that takes Weft off the nodes: it removes what the agent's manifest puts there, with no more rights than the agent has.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { it } from 'node:test';

import { parseSettings } from '../../agent/settings.ts';
import {
  type Data,
  type Fields,
  at,
  fields,
  list,
  nameOf,
  parseDocuments,
  parseTyped,
  readManifest,
  word,
} from './manifests-documents.ts';

const text = readManifest('remove/remove.yaml');
const documents = parseDocuments(text);
const podOf = (found: Fields | undefined): Fields => {
  assert.ok(found !== undefined);
  return fields(at(found, 'spec.template.spec'));
};
const pod = podOf(documents.find(({ kind }) => kind === 'DaemonSet'));
const agentPod = podOf(parseDocuments(readManifest('weft.yaml')).find(({ kind }) => kind === 'DaemonSet'));
const remover = fields(at(pod, 'initContainers.remove'));
const agent = fields(at(agentPod, 'containers.agent'));

/** What the container would have in its environment, where it is written down. */
const environment = (container: Fields): Record<string, string> =>
  Object.fromEntries(
    list(container['env']).map(({ name, value = 'node' }) => [word(name), word(value)] as const),
  );
const hostPath = (of: Fields, volume: string): Data | undefined => at(of, `volumes.${volume}.hostPath.path`);

it('it is a namespace of its own and one DaemonSet, and has no rights in the cluster', () => {
  assert.deepEqual(documents.map(nameOf), ['Namespace/weft-remove', 'DaemonSet/weft-remove/weft-remove']);
  assert.equal(pod['automountServiceAccountToken'], false);
  assert.equal(pod['serviceAccountName'], undefined);
});

it('no field is one that the Kubernetes API does not know', () => {
  for (const { plain, typed } of parseTyped(text)) assert.deepEqual(typed, plain, nameOf(plain));
});

it('it runs where the agent runs, with the same image and no more rights on the node', () => {
  for (const field of ['tolerations', 'affinity', 'hostNetwork', 'priorityClassName', 'securityContext']) {
    assert.deepEqual(pod[field], agentPod[field], field);
  }
  for (const container of [remover, fields(at(pod, 'containers.done'))]) {
    assert.equal(container['image'], agent['image']);
  }
  assert.deepEqual(remover['securityContext'], agent['securityContext']);
});

it('it finds the folders of the node that the agent has', () => {
  const settings = parseSettings({ ...environment(remover), WEFT_NODE_IP: '' });
  const mounts = list(remover['volumeMounts']);
  /** The node's path of a path in the container. */
  const onNode = (path: string | undefined): string => {
    const mount = mounts.find(({ mountPath }) => path?.startsWith(word(mountPath)));
    assert.ok(mount !== undefined && path !== undefined, path);
    return path.replace(word(mount['mountPath']), word(hostPath(pod, word(mount['name']))));
  };
  assert.equal(onNode(settings.runDirectory), hostPath(agentPod, 'run'));
  assert.equal(onNode(settings.stateDirectory), hostPath(agentPod, 'state'));
  assert.equal(onNode(settings.cniDirectory), hostPath(agentPod, 'cni-conf'));
  assert.equal(onNode(settings.cniPluginDirectory), hostPath(agentPod, 'cni-bin'));
});

it('what it mounts of the node follows when the node unmounts, so no pod is held by it', () => {
  for (const { name, mountPropagation } of list(remover['volumeMounts']).filter(
    (mount) => !word(mount['name']).startsWith('cni-'),
  )) {
    assert.equal(mountPropagation, 'HostToContainer', word(name));
  }
});

it('the program that it runs is one of ours', () => {
  const [, program = ''] = remover['command'] as readonly string[]; // as: checked by the schema
  const source = program.replace('/opt/weft/', '../../').replace(/\.js$/, '.ts');
  assert.ok(existsSync(new URL(source, import.meta.url)), source);
});
