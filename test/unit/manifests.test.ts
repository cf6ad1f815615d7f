// The manifests against the sources that they repeat, and the rights that they ask for against an exact list.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { it } from 'node:test';

import { SETTING_TABLE } from '../../agent/setting-table.ts';
import { parseSettings } from '../../agent/settings.ts';
import { API_GROUP, API_VERSION } from '../../proto/api-kinds.ts';
import { CUSTOM_KINDS } from '../../proto/api-schema.ts';
import { decodeNetworkConfig } from '../../proto/cni.ts';
import {
  type Data,
  type Fields,
  at,
  fields,
  kustomize,
  kustomizeMissing,
  list,
  manifestPath,
  nameOf,
  parseDocuments,
  parseTyped,
  readManifest,
  word,
} from './manifests-documents.ts';

const text = readManifest('weft.yaml');
const documents = new Map(parseDocuments(text).map((document) => [nameOf(document), document]));
const AGENT = 'system:serviceaccount:weft:weft-agent';

function named(name: string): Fields {
  const found = documents.get(name);
  assert.ok(found !== undefined, `weft.yaml has no ${name}`);
  return found;
}

const podSpec = (): Fields => fields(at(named('DaemonSet/weft/weft'), 'spec.template.spec'));
const agent = (): Fields => fields(at(podSpec(), 'containers.agent'));
const settings = (): Fields => fields(named('ConfigMap/weft/weft')['data']);

it('what is generated is what its sources say', () => {
  const { status, stderr } = spawnSync(process.execPath, [manifestPath('generate.ts'), '--check'], {
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
});

it('weft.yaml is the base as kustomize builds it', { skip: kustomizeMissing() }, () => {
  const built = new Map(kustomize('base').map((document) => [nameOf(document), document]));
  assert.deepEqual([...documents.keys()].sort(), [...built.keys()].sort());
  for (const [name, document] of documents) assert.deepEqual(document, built.get(name), name);
});

it('no field is one that the Kubernetes API does not know', () => {
  for (const { plain, typed } of parseTyped(text)) assert.deepEqual(typed, plain, nameOf(plain));
});

it('an unknown field would be noticed', () => {
  const [document] = parseTyped(
    text.slice(text.indexOf('apiVersion: apps/v1')).replace('hostNetwork', 'hostNetwrk'),
  );
  assert.ok(document !== undefined);
  assert.notDeepEqual(document.typed, document.plain);
});

for (const kind of CUSTOM_KINDS) {
  it(`the definition of ${kind.kind} is the schema's`, () => {
    const spec = fields(named(`CustomResourceDefinition/${kind.plural}.${API_GROUP}`)['spec']);
    const { categories, listKind, ...names } = fields(spec['names']);
    const { schema, columns, ...own } = kind;
    assert.deepEqual(names, own);
    assert.deepEqual([listKind, categories], [`${kind.kind}List`, ['weft']]);
    assert.deepEqual([spec['group'], spec['scope']], [API_GROUP, 'Cluster']);
    assert.deepEqual(spec['versions'], [
      {
        name: API_VERSION,
        served: true,
        storage: true,
        schema: { openAPIV3Schema: schema },
        additionalPrinterColumns: columns,
      },
    ]);
  });
}

it('every setting is in the ConfigMap with its default, or given by the DaemonSet', () => {
  const given = new Map(list(agent()['env']).map((entry) => [entry['name'], entry]));
  const ofTable = SETTING_TABLE.filter(([name]) => !given.has(name)).map(([name, fallback]) => [
    name,
    fallback,
  ]);
  assert.deepEqual(Object.entries(settings()), ofTable);
  assert.deepEqual(at(agent(), 'envFrom'), [{ configMapRef: { name: 'weft' } }]);
  assert.deepEqual(Object.fromEntries(given), {
    HOSTNAME: { name: 'HOSTNAME', valueFrom: { fieldRef: { fieldPath: 'spec.nodeName' } } },
    WEFT_NODE_IP: { name: 'WEFT_NODE_IP', valueFrom: { fieldRef: { fieldPath: 'status.hostIP' } } },
    WEFT_RUN_DIR: { name: 'WEFT_RUN_DIR', value: '/run/weft' },
    WEFT_STATE_DIR: { name: 'WEFT_STATE_DIR', value: '/var/lib/weft' },
    WEFT_CNI_CONF_DIR: { name: 'WEFT_CNI_CONF_DIR', value: '/host/etc/cni/net.d' },
    WEFT_CNI_BIN_DIR: { name: 'WEFT_CNI_BIN_DIR', value: '/host/opt/cni/bin' },
    WEFT_CNI_TEMPLATE: { name: 'WEFT_CNI_TEMPLATE', value: '/etc/weft/10-weft.conflist' },
    WEFT_READY_FILE: { name: 'WEFT_READY_FILE', value: '/var/cache/weft/ready' },
    NODE_COMPILE_CACHE: { name: 'NODE_COMPILE_CACHE', value: '/var/cache/weft' },
  });
});

it('the agent takes the ConfigMap as its defaults', () => {
  const environment = settings() as Readonly<Record<string, string>>; // as: compared with text above
  assert.deepEqual(parseSettings({ ...environment, HOSTNAME: 'n1' }), parseSettings({ HOSTNAME: 'n1' }));
});

it('every setting is explained where it stands', () => {
  const lines = text.split('\n');
  for (const name of Object.keys(settings())) {
    const line = lines.findIndex((each) => each.startsWith(`  ${name}: `));
    assert.match(lines[line - 1] ?? '', /^ {2}# \S/, name);
  }
});

it('agents may do exactly this', () => {
  assert.deepEqual(named('ClusterRole/weft-agent')['rules'], [
    { apiGroups: [''], resources: ['nodes'], verbs: ['get'] },
    { apiGroups: ['networking.k8s.io'], resources: ['servicecidrs'], verbs: ['list'] },
    { apiGroups: ['weft.dev'], resources: ['peers'], verbs: ['get', 'list', 'watch', 'create', 'update'] },
    {
      apiGroups: ['weft.dev'],
      resources: ['addressblocks'],
      verbs: ['get', 'list', 'watch', 'create', 'update', 'delete'],
    },
  ]);
  assert.deepEqual(named('Role/default/weft-agent-events')['rules'], [
    { apiGroups: [''], resources: ['events'], verbs: ['create', 'patch'] },
  ]);
  const granting = [...documents.keys()].filter((name) => /Role|Binding|ServiceAccount/.test(name));
  assert.deepEqual(granting.sort(), [
    'ClusterRole/weft-agent',
    'ClusterRoleBinding/weft-agent',
    'Role/default/weft-agent-events',
    'RoleBinding/default/weft-agent-events',
    'ServiceAccount/weft/weft-agent',
    'ValidatingAdmissionPolicyBinding/weft-abandoned-blocks',
    'ValidatingAdmissionPolicyBinding/weft-block-deletion',
    'ValidatingAdmissionPolicyBinding/weft-own-node',
  ]);
});

it('they are granted to the agents alone, who are whom the policy holds', () => {
  const subject = { kind: 'ServiceAccount', name: 'weft-agent', namespace: 'weft' };
  for (const name of ['ClusterRoleBinding/weft-agent', 'RoleBinding/default/weft-agent-events']) {
    assert.deepEqual(named(name)['subjects'], [subject], name);
  }
  assert.equal(podSpec()['serviceAccountName'], 'weft-agent');
  const isAgent = { name: 'is-an-agent', expression: `request.userInfo.username == '${AGENT}'` };
  const conditions = (policy: string): ReturnType<typeof list> =>
    list(fields(named(`ValidatingAdmissionPolicy/${policy}`)['spec'])['matchConditions']);
  assert.deepEqual(conditions('weft-own-node'), [isAgent]);
  assert.deepEqual(conditions('weft-abandoned-blocks')[0], isAgent);
  assert.deepEqual(conditions('weft-block-deletion'), [
    { name: 'is-no-agent', expression: `request.userInfo.username != '${AGENT}'` },
  ]);
});

it('the policy judges every write of both kinds, and refuses', () => {
  const policy = fields(named('ValidatingAdmissionPolicy/weft-own-node')['spec']);
  assert.equal(policy['failurePolicy'], 'Fail');
  assert.deepEqual(at(policy, 'matchConstraints.resourceRules'), [
    {
      apiGroups: [API_GROUP],
      apiVersions: ['*'],
      operations: ['CREATE', 'UPDATE', 'DELETE'],
      resources: CUSTOM_KINDS.map(({ plural }) => plural),
      scope: '*',
    },
  ]);
  assert.deepEqual(named('ValidatingAdmissionPolicyBinding/weft-own-node')['spec'], {
    policyName: 'weft-own-node',
    validationActions: ['Deny'],
  });
  // Each variable that an expression names is defined above it.
  const known = new Set<string>();
  const used = (expression: Data): readonly string[] =>
    [...word(expression).matchAll(/variables\.(\w+)/g)].map((match) => match[1]!); // !: the expression has one group
  for (const { name = '', expression = '' } of list(policy['variables'])) {
    for (const each of used(expression)) assert.ok(known.has(each), each);
    known.add(word(name));
  }
  for (const { expression = '', message, messageExpression } of list(policy['validations'])) {
    for (const each of [...used(expression), ...used(messageExpression ?? '')]) {
      assert.ok(known.has(each), each);
    }
    assert.ok((message === undefined) !== (messageExpression === undefined));
  }
});

it('the CNI configuration is a list of version 1.0.0 that starts with weft', () => {
  const data = fields(named('ConfigMap/weft/weft-cni')['data']);
  assert.deepEqual(Object.keys(data), ['10-weft.conflist']);
  const conflist = JSON.parse(word(data['10-weft.conflist'])) as Fields; // as: checked here
  const { plugins, ...common } = conflist;
  assert.deepEqual(common, { cniVersion: '1.0.0', name: 'weft' });
  assert.deepEqual(
    list(plugins).map(({ type }) => type),
    ['weft', 'portmap'],
  );
  const [first] = list(plugins);
  const config = decodeNetworkConfig({ ...common, ...first }); // as the runtime composes it
  assert.ok(config.ok, JSON.stringify(config));
});
