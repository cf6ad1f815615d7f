// From method and path to what is asked: a verb on a resource (k8s.io/apiserver/pkg/endpoints/request/requestinfo.go). Pure.
import { type ApiVerb, type ResourceKind, findKind } from './resource-kinds.ts';

export interface RequestTarget {
  readonly kind: ResourceKind;
  /** Undefined: cluster-scoped, or all namespaces. */
  readonly namespace: string | undefined;
  /** '' for the collection. */
  readonly name: string;
  readonly subresource: 'status' | undefined;
}

/** Undefined when the path names no resource of ours. */
export function parseTarget(path: string): RequestTarget | undefined {
  const steps = path.split('/').slice(1).map(decodeStep);
  if (steps.at(-1) === '') steps.pop();
  const [root, ...rest] = steps;
  if (root === 'api') return parseResource({ group: '', version: rest[0], steps: rest.slice(1) });
  if (root === 'apis' && rest[0] !== undefined) {
    return parseResource({ group: rest[0], version: rest[1], steps: rest.slice(2) });
  }
  return undefined;
}

const decodeStep = (step: string): string => {
  try {
    return decodeURIComponent(step);
  } catch {
    return step;
  }
};

function parseResource(options: {
  group: string;
  version: string | undefined;
  steps: readonly string[];
}): RequestTarget | undefined {
  const { group, version, steps } = options;
  const inNamespace = steps[0] === 'namespaces' && steps.length > 2 && steps[2] !== 'status';
  const namespace = inNamespace ? steps[1] : undefined;
  const [plural, name = '', subresource, ...more] = inNamespace ? steps.slice(2) : steps;
  if (version === undefined || plural === undefined || more.length > 0) return undefined;
  const kind = findKind(group, version, plural);
  if (kind === undefined || (namespace !== undefined && !kind.namespaced)) return undefined;
  if (kind.namespaced && namespace === undefined && name !== '') return undefined;
  if (subresource !== undefined && !(subresource === 'status' && kind.statusSubresource)) return undefined;
  return { kind, namespace, name, subresource };
}

/** Undefined when the method is none that the API knows there. */
export function verbOf(method: string, target: RequestTarget, query: URLSearchParams): ApiVerb | undefined {
  const collection = target.name === '';
  const watch = query.get('watch');
  switch (method) {
    case 'GET':
    case 'HEAD':
      if (watch === 'true' || watch === '1') return 'watch';
      return collection ? 'list' : 'get';
    case 'POST':
      return collection ? 'create' : undefined;
    case 'PUT':
      return collection ? undefined : 'update';
    case 'PATCH':
      return collection ? undefined : 'patch';
    case 'DELETE':
      return collection ? 'deletecollection' : 'delete';
    default:
      return undefined;
  }
}
