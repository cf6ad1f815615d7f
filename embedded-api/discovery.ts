// What the server says of itself: the groups, versions and resources that kubectl and client libraries look up before anything else.
import { API_GROUP, API_GROUP_VERSION, API_VERSION } from '../proto/api-kinds.ts';
import { RESOURCE_KINDS, type ResourceKind, apiVersionOf } from './resource-kinds.ts';

/** The Kubernetes release whose protocol this is: clients compare it with their own. */
const VERSION = {
  major: '1',
  minor: '33',
  gitVersion: 'v1.33.0+weft',
  gitCommit: '',
  gitTreeState: 'clean',
  buildDate: '1970-01-01T00:00:00Z',
  goVersion: '',
  compiler: '',
  platform: 'linux/amd64',
};

const resourceEntries = (kind: ResourceKind): readonly object[] => {
  const main = {
    name: kind.plural,
    singularName: kind.singular,
    namespaced: kind.namespaced,
    kind: kind.kind,
    verbs: kind.verbs,
    shortNames: kind.shortNames,
  };
  const status = {
    name: `${kind.plural}/status`,
    singularName: '',
    namespaced: kind.namespaced,
    kind: kind.kind,
    verbs: ['get', 'patch', 'update'],
  };
  return kind.statusSubresource ? [main, status] : [main];
};

const resourceList = (groupVersion: string): object => ({
  kind: 'APIResourceList',
  apiVersion: 'v1',
  groupVersion,
  resources: RESOURCE_KINDS.filter((kind) => apiVersionOf(kind) === groupVersion).flatMap(resourceEntries),
});

const groupVersion = { groupVersion: API_GROUP_VERSION, version: API_VERSION };
const group = { name: API_GROUP, versions: [groupVersion], preferredVersion: groupVersion };

const DOCUMENTS: Readonly<Record<string, object>> = {
  '/version': VERSION,
  '/api': {
    kind: 'APIVersions',
    versions: ['v1'],
    serverAddressByClientCIDRs: [],
  },
  '/api/v1': resourceList('v1'),
  '/apis': { kind: 'APIGroupList', apiVersion: 'v1', groups: [group] },
  [`/apis/${API_GROUP}`]: { kind: 'APIGroup', apiVersion: 'v1', ...group },
  [`/apis/${API_GROUP_VERSION}`]: resourceList(API_GROUP_VERSION),
};

/** The discovery document at a path, if there is one. */
export const discoveryDocument = (path: string): object | undefined => {
  const plain = path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path;
  return Object.hasOwn(DOCUMENTS, plain) ? DOCUMENTS[plain] : undefined;
};
