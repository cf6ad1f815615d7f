// The agent's settings from its environment: Weave's names where they still mean the same, WEFT_* for the rest. Every value is checked
// here, once; a bad one is refused with its name, its value and what to write instead. docs/operations/settings.md has the table (tested).
import {
  type Cidr,
  type Ipv4,
  type Vni,
  blockCount,
  cidrContains,
  formatCidr,
  formatIpv4,
  vni,
} from '../proto/address.ts';
import { parseCidr, parseIpv4 } from '../proto/address-text.ts';
import { MOST_WORKERS } from '../proto/worker-files.ts';
import { OperationError } from './operation-error.ts';
import { settingOf } from './setting-table.ts';

export interface Settings {
  readonly nodeName: string;
  /** The node's underlay address; undefined = found from the default route. */
  readonly nodeIp: Ipv4 | undefined;
  readonly range: Cidr;
  readonly blockPrefixLength: number;
  /** UDP port of the tunnel, the same on every node. */
  readonly port: number;
  readonly vni: Vni;
  /** MTU inside pods; undefined = the underlay's less the encapsulation. */
  readonly mtu: number | undefined;
  readonly masquerade: boolean;
  readonly statusAddress: ListenAddress;
  readonly metricsAddress: ListenAddress;
  readonly runDirectory: string;
  readonly stateDirectory: string;
  /** Data plane processes that carry packets at once; undefined = by the processors that may be used (defaultWorkers). */
  readonly dataplaneWorkers: number | undefined;
  /** How long a freed block stays unclaimed. */
  readonly blockQuarantineMs: number;
  /** How long an empty block, other than the first, is kept. */
  readonly blockQuietMs: number;
  /** 0: never. */
  readonly selfCheckMs: number;
  /** Where the CNI configuration is written once pods can be attached; undefined = nowhere. */
  readonly cniDirectory: string | undefined;
  /** The runtime's plugins, to see which ones the node has. */
  readonly cniPluginDirectory: string;
  /** The CNI configuration to write. */
  readonly cniTemplate: string;
  /** A file that is there while pods can be attached; undefined = none. */
  readonly readyFile: string | undefined;
  readonly logLevel: string;
  readonly logFormat: 'json' | 'pretty';
}

export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

export type Environment = Readonly<Record<string, string | undefined>>;

/** Throws OperationError SETTING_INVALID that names the setting, its value and the remedy. */
export function parseSettings(environment: Environment): Settings {
  const text = (name: string): string => settingOf(environment, name);
  const settings: Settings = {
    nodeName: nodeName(text('HOSTNAME')),
    nodeIp: text('WEFT_NODE_IP') === '' ? undefined : nodeAddress(text('WEFT_NODE_IP')),
    range: named('IPALLOC_RANGE', () => parseCidr(text('IPALLOC_RANGE'))),
    blockPrefixLength: integer('WEFT_BLOCK_PREFIX', text('WEFT_BLOCK_PREFIX'), [20, 29]),
    port: integer('WEFT_PORT', text('WEFT_PORT'), [1, 65535]),
    vni: vni(integer('WEFT_VNI', text('WEFT_VNI'), [0, 0xffffff])),
    mtu: text('WEAVE_MTU') === '' ? undefined : integer('WEAVE_MTU', text('WEAVE_MTU'), [576, 65485]),
    masquerade: choice('WEFT_MASQUERADE', text('WEFT_MASQUERADE'), ['0', '1']) === '1',
    statusAddress: listenAddress('WEAVE_HTTP_ADDR', text('WEAVE_HTTP_ADDR')),
    metricsAddress: listenAddress('WEAVE_METRICS_ADDR', text('WEAVE_METRICS_ADDR')),
    runDirectory: absolutePath('WEFT_RUN_DIR', text('WEFT_RUN_DIR')),
    stateDirectory: absolutePath('WEFT_STATE_DIR', text('WEFT_STATE_DIR')),
    dataplaneWorkers:
      text('WEFT_DATAPLANE_WORKERS') === ''
        ? undefined
        : integer('WEFT_DATAPLANE_WORKERS', text('WEFT_DATAPLANE_WORKERS'), [1, MOST_WORKERS]),
    blockQuarantineMs: seconds('WEFT_BLOCK_QUARANTINE_SECONDS', text, LONGEST_QUARANTINE),
    blockQuietMs: seconds('WEFT_BLOCK_QUIET_SECONDS', text),
    selfCheckMs: seconds('WEFT_SELF_CHECK_SECONDS', text),
    cniDirectory:
      text('WEFT_CNI_CONF_DIR') === ''
        ? undefined
        : absolutePath('WEFT_CNI_CONF_DIR', text('WEFT_CNI_CONF_DIR')),
    cniPluginDirectory: absolutePath('WEFT_CNI_BIN_DIR', text('WEFT_CNI_BIN_DIR')),
    cniTemplate: absolutePath('WEFT_CNI_TEMPLATE', text('WEFT_CNI_TEMPLATE')),
    readyFile:
      text('WEFT_READY_FILE') === '' ? undefined : absolutePath('WEFT_READY_FILE', text('WEFT_READY_FILE')),
    logLevel: choice('LOG_LEVEL', text('LOG_LEVEL'), ['trace', 'debug', 'info', 'warn', 'error']),
    logFormat: choice('LOG_FORMAT', text('LOG_FORMAT'), ['json', 'pretty'] as const),
  };
  checkRange(settings);
  return settings;
}

/** What is needed to tell why the settings are refused: the defaults in place of what cannot be used. */
export type Reporting = Pick<Settings, 'statusAddress' | 'logLevel' | 'logFormat'> & {
  readonly nodeName: string | undefined;
};

/** Each costs 17 MB, 24 under load: with more, an idle agent has over 128 MB. */
const MOST_WORKERS_UNASKED = 2;

/** For a node with so many processors: the other half is for the pods, whose packets these are, and for the kernel's part of the path. */
export const defaultWorkers = (processors: number): number =>
  Math.max(1, Math.min(MOST_WORKERS_UNASKED, Math.floor(processors / 2)));

/** Never throws. */
export function parseReporting(environment: Environment): Reporting {
  const usable = (name: string): Environment => {
    try {
      parseSettings({ HOSTNAME: 'any', [name]: environment[name] });
      return { [name]: environment[name] };
    } catch {
      return {};
    }
  };
  const names = ['HOSTNAME', 'WEAVE_HTTP_ADDR', 'LOG_LEVEL', 'LOG_FORMAT'];
  const given: Environment = Object.assign({}, ...names.map(usable));
  const { statusAddress, logLevel, logFormat } = parseSettings({ ...given, HOSTNAME: 'any' });
  return { statusAddress, logLevel, logFormat, nodeName: given['HOSTNAME'] };
}

function checkRange({ range, blockPrefixLength, nodeIp }: Settings): void {
  const name = formatCidr(range);
  if (range.prefixLength < 8) {
    throw invalid('IPALLOC_RANGE', name, 'it is too large: choose a prefix length of 8 or more');
  }
  if (range.prefixLength > blockPrefixLength - 1 || blockCount(range, blockPrefixLength) < 2) {
    throw invalid(
      'IPALLOC_RANGE',
      name,
      `it is too small: nodes claim blocks of /${blockPrefixLength}, so choose /${blockPrefixLength - 1} or a shorter prefix`,
    );
  }
  if (nodeIp !== undefined && cidrContains(range, nodeIp)) {
    throw invalid(
      'IPALLOC_RANGE',
      name,
      `it overlaps the node's own address ${formatIpv4(nodeIp)}: choose a range that no host uses`,
    );
  }
}

const invalid = (name: string, value: string, remedy: string): OperationError =>
  new OperationError(`Cannot use ${name}="${value}": ${remedy}`, {
    code: 'SETTING_INVALID',
    context: { setting: name, value },
  });

function named<T>(name: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new OperationError(`Cannot use ${name}: ${reason}`, {
      code: 'SETTING_INVALID',
      context: { setting: name },
      cause: error,
    });
  }
}

function integer(name: string, text: string, [least, most]: readonly [number, number]): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < least || value > most) {
    throw invalid(name, text, `write a whole number from ${least} to ${most}`);
  }
  return value;
}

/** Seconds for which agents remember freed blocks (cluster-view.ts). */
export const LONGEST_QUARANTINE = 86_400;

const seconds = (name: string, text: (name: string) => string, most = 31_536_000): number =>
  integer(name, text(name), [0, most]) * 1000;

function choice<T extends string>(name: string, text: string, words: readonly T[]): T {
  const found = words.find((word) => word === text);
  if (found === undefined) throw invalid(name, text, `write one of ${words.join(', ')}`);
  return found;
}

function nodeAddress(text: string): Ipv4 {
  if (text.includes(':')) {
    throw invalid(
      'WEFT_NODE_IP',
      text,
      'it is an IPv6 address and nodes reach each other by IPv4; give the Node an IPv4 InternalIP (kubelet --node-ip), or write an IPv4 address of the node',
    );
  }
  return named('WEFT_NODE_IP', () => parseIpv4(text));
}

function nodeName(text: string): string {
  if (!/^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/.test(text)) {
    throw invalid(
      'HOSTNAME',
      text,
      'write the name of this Node object (in a manifest: fieldRef spec.nodeName)',
    );
  }
  return text;
}

/** Of the setting `name`. Throws OperationError SETTING_INVALID. */
export function listenAddress(name: string, text: string): ListenAddress {
  const at = text.lastIndexOf(':');
  const host = text.slice(0, Math.max(at, 0)).replace(/^\[(.*)\]$/, '$1');
  const port = text.slice(at + 1);
  if (at < 1 || host === '' || !/^\d+$/.test(port) || Number(port) > 65535) {
    throw invalid(name, text, 'write an address and a port such as 127.0.0.1:6784');
  }
  return { host, port: Number(port) };
}

/** As a URL has it: an IPv6 address in brackets. */
export const authorityOf = ({ host, port }: ListenAddress): string =>
  `${host.includes(':') ? `[${host}]` : host}:${port}`;

function absolutePath(name: string, text: string): string {
  if (!text.startsWith('/')) throw invalid(name, text, 'write an absolute path');
  return text.length > 1 ? text.replace(/\/+$/, '') : text;
}
