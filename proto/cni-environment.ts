// The CNI environment (CNI spec 1.1.0, section 2, "Parameters"): which variable each verb requires, what it may hold, and CNI_ARGS.
// The shim checks the same before it asks; the agent checks again, because it trusts nobody.
import { CNI_CODE, type CniAttachment, type CniCommand, type CniError } from './cni.ts';
import { type Decoded, decoded, refused } from './decoded.ts';

/** CNI_ARGS as far as we know them. */
export interface CniArguments {
  readonly podName: string | undefined;
  readonly podNamespace: string | undefined;
  readonly podUid: string | undefined;
  /** IP and MAC as they were given (cni-requested.ts). */
  readonly address: string | undefined;
  readonly mac: string | undefined;
}

export type CniInvocation =
  | ({
      readonly command: 'ADD' | 'CHECK';
      readonly netns: string;
      readonly args: CniArguments;
    } & CniAttachment)
  | ({ readonly command: 'DEL'; readonly netns: string | undefined } & CniAttachment)
  | { readonly command: 'STATUS' | 'GC' | 'VERSION' };

export type ArgumentsRefusal = 'arguments-malformed' | 'arguments-unknown';

export type EnvironmentRefusal =
  | 'command'
  | 'container-id-missing'
  | 'container-id-malformed'
  | 'interface-name-missing'
  | 'interface-name-malformed'
  | 'netns-missing'
  | 'netns-malformed'
  | 'path-missing'
  | ArgumentsRefusal;

const RULES: { readonly [Reason in EnvironmentRefusal]: string } = {
  command: 'CNI_COMMAND must be one of ADD, DEL, CHECK, STATUS, GC, VERSION',
  'container-id-missing': 'CNI_CONTAINERID is missing: give the id of the container',
  'container-id-malformed':
    'CNI_CONTAINERID must start with a letter or digit, then letters, digits, "_", ".", "-"',
  'interface-name-missing': "CNI_IFNAME is missing: give the interface's name inside the pod",
  'interface-name-malformed':
    'CNI_IFNAME must be 1 to 15 characters, not "." or "..", without "/", ":" and white space',
  'netns-missing': "CNI_NETNS is missing: give the path of the pod's network namespace",
  'netns-malformed': "CNI_NETNS must be the absolute path of the pod's network namespace",
  'path-missing': 'CNI_PATH is missing: GC requires the list of directories with CNI plugins',
  'arguments-malformed': 'CNI_ARGS must be KEY=VALUE pairs separated by ";"',
  'arguments-unknown':
    'CNI_ARGS holds a key that Weft does not know: remove it, or add IgnoreUnknown=1 to have such keys ignored',
};

export const environmentError = (reason: EnvironmentRefusal): CniError => ({
  code: CNI_CODE.invalidEnvironment,
  msg: RULES[reason],
});

const MAX_INTERFACE_NAME_BYTES = 15;

export const isContainerId = (text: string): boolean => /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(text);

export const isInterfaceName = (text: string): boolean =>
  text !== '' &&
  text !== '.' &&
  text !== '..' &&
  new TextEncoder().encode(text).length <= MAX_INTERFACE_NAME_BYTES &&
  // White space as the kernel and C see it; \0 cannot be in a variable.
  !/[/: \t\n\v\f\r\0]/.test(text);

type Environment = ReadonlyMap<string, string>;

const value = (environment: Environment, name: string): string | undefined => {
  const text = environment.get(name);
  return text === '' ? undefined : text; // empty counts as missing, as in libcni
};

/** Decodes and checks the variables; an empty one counts as missing. */
export function decodeEnvironment(environment: Environment): Decoded<CniInvocation, EnvironmentRefusal> {
  const command = value(environment, 'CNI_COMMAND') as CniCommand | undefined; // as: the switch's default refuses the rest
  switch (command) {
    case 'STATUS':
    case 'VERSION':
      return decoded({ command });
    case 'GC':
      return value(environment, 'CNI_PATH') === undefined ? refused('path-missing') : decoded({ command });
    case 'ADD':
    case 'CHECK':
    case 'DEL':
      return decodeAttachment(environment, command);
    case undefined:
    default:
      return refused('command');
  }
}

function decodeAttachment(
  environment: Environment,
  command: 'ADD' | 'CHECK' | 'DEL',
): Decoded<CniInvocation, EnvironmentRefusal> {
  const containerId = value(environment, 'CNI_CONTAINERID');
  if (containerId === undefined) return refused('container-id-missing');
  if (!isContainerId(containerId)) return refused('container-id-malformed');
  const interfaceName = value(environment, 'CNI_IFNAME');
  if (interfaceName === undefined) return refused('interface-name-missing');
  if (!isInterfaceName(interfaceName)) return refused('interface-name-malformed');
  const netns = value(environment, 'CNI_NETNS');
  if (netns !== undefined && !netns.startsWith('/')) return refused('netns-malformed');
  if (command === 'DEL') return decoded({ command, containerId, interfaceName, netns });
  if (netns === undefined) return refused('netns-missing');
  const args = decodeArguments(value(environment, 'CNI_ARGS') ?? '');
  return args.ok ? decoded({ command, containerId, interfaceName, netns, args: args.value }) : args;
}

// K8S_POD_INFRA_CONTAINER_ID repeats CNI_CONTAINERID: known, not kept.
const KNOWN = new Set([
  'IgnoreUnknown',
  'K8S_POD_NAME',
  'K8S_POD_NAMESPACE',
  'K8S_POD_UID',
  'K8S_POD_INFRA_CONTAINER_ID',
  'IP',
  'MAC',
]);

/** Decodes `KEY=VALUE;…`. Unknown keys are refused unless IgnoreUnknown is set, as libcni's plugins do. */
export function decodeArguments(text: string): Decoded<CniArguments, ArgumentsRefusal> {
  const pairs = new Map<string, string>();
  for (const pair of text.split(';')) {
    if (pair === '') continue;
    const at = pair.indexOf('=');
    if (!/^[A-Za-z0-9_]+$/.test(pair.slice(0, Math.max(at, 0)))) return refused('arguments-malformed');
    pairs.set(pair.slice(0, at), pair.slice(at + 1));
  }
  const ignoreUnknown = ['1', 'true'].includes((pairs.get('IgnoreUnknown') ?? '').toLowerCase());
  if (!ignoreUnknown && [...pairs.keys()].some((key) => !KNOWN.has(key))) return refused('arguments-unknown');
  return decoded({
    podName: pairs.get('K8S_POD_NAME'),
    podNamespace: pairs.get('K8S_POD_NAMESPACE'),
    podUid: pairs.get('K8S_POD_UID'),
    address: pairs.get('IP'),
    mac: pairs.get('MAC'),
  });
}
