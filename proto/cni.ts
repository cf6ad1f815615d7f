// CNI as plugin and runtime speak it: versions, error codes, network configuration, results (CNI spec 1.1.0, sections 1, 2 and 5).
// The environment is in cni-environment.ts. Nothing from outside is trusted: a decoder answers a value or a reason, never throws.
import { type Ipv4, type Mac, formatIpv4, formatMac } from './address.ts';
import { type Decoded, decoded, refused } from './decoded.ts';

export const CNI_VERSIONS = ['0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;
export type CniVersion = (typeof CNI_VERSIONS)[number];
export const NEWEST_CNI_VERSION: CniVersion = '1.1.0';

export type CniCommand = 'ADD' | 'DEL' | 'CHECK' | 'STATUS' | 'GC' | 'VERSION';

/** Version that introduced a verb; the others are in all that we support. */
const INTRODUCED: { readonly [Command in CniCommand]?: CniVersion } = {
  CHECK: '0.4.0',
  STATUS: '1.1.0',
  GC: '1.1.0',
};

export const isCniVersion = (value: unknown): value is CniVersion =>
  CNI_VERSIONS.some((version) => version === value);

/** Whether a configuration of this version may be used with this verb. */
export const versionHasCommand = (version: CniVersion, command: CniCommand): boolean =>
  CNI_VERSIONS.indexOf(version) >= CNI_VERSIONS.indexOf(INTRODUCED[command] ?? CNI_VERSIONS[0]);

/** Error codes of the specification; 999 is what libcni uses for "internal", from 100 on a plugin's own. */
export const CNI_CODE = {
  incompatibleVersion: 1,
  unsupportedField: 2,
  unknownContainer: 3,
  invalidEnvironment: 4,
  ioFailure: 5,
  undecodable: 6,
  invalidConfig: 7,
  tryAgainLater: 11,
  notAvailable: 50,
  limitedConnectivity: 51,
  /** Ours: CHECK found the pod's network differing from the record. */
  attachmentDiffers: 100,
  /** Ours: ADD cannot give the address that was asked for. */
  addressUnavailable: 101,
  /** Ours: the MAC that was asked for is in use on this node. */
  macUnavailable: 102,
  internal: 999,
} as const;

export interface CniError {
  readonly code: number;
  /** Shown word for word in the pod's event: what happened, then what to do. */
  readonly msg: string;
  readonly details?: string;
}

export interface CniAttachment {
  readonly containerId: string;
  readonly interfaceName: string;
}

export interface CniDns {
  readonly nameservers?: readonly string[];
  readonly domain?: string;
  readonly search?: readonly string[];
  readonly options?: readonly string[];
}

/** What CHECK needs of the result that ADD gave. */
export interface PreviousResult {
  readonly interfaces: readonly {
    readonly name: string;
    readonly mac: string | undefined;
    readonly mtu: number | undefined;
    readonly sandbox: string | undefined;
  }[];
  /** `address` with its prefix length. */
  readonly ips: readonly { readonly address: string; readonly gateway: string | undefined }[];
  /** `table`: undefined = the main one. */
  readonly routes: readonly {
    readonly dst: string;
    readonly gw: string | undefined;
    readonly table: number | undefined;
  }[];
}

export type Fields = Readonly<Record<string, unknown>>;

export interface NetworkConfig {
  readonly cniVersion: CniVersion;
  readonly name: string;
  readonly type: string;
  readonly dns: CniDns;
  readonly previousResult: PreviousResult | undefined;
  /** GC: the attachments to keep. Undefined when the configuration does not list any, which is not an empty list. */
  readonly validAttachments: readonly CniAttachment[] | undefined;
  /** As it was given. */
  readonly fields: Fields;
}

export type ConfigRefusal =
  | 'not-an-object'
  | 'version-unsupported'
  | 'name-malformed'
  | 'type-malformed'
  | 'dns-malformed'
  | 'previous-result-malformed'
  | 'valid-attachments-malformed';

const CONFIG_ERRORS: { readonly [Reason in ConfigRefusal]: CniError } = {
  'not-an-object': {
    code: CNI_CODE.undecodable,
    msg: 'The network configuration on stdin is not a JSON object, or is nested more than 100 levels deep',
  },
  'version-unsupported': {
    code: CNI_CODE.incompatibleVersion,
    msg: `The network configuration's cniVersion is missing or not supported: write one of ${CNI_VERSIONS.join(', ')}`,
  },
  'name-malformed': {
    code: CNI_CODE.invalidConfig,
    msg: 'The network configuration\'s "name" must start with a letter or digit, then letters, digits, "_", ".", "-"',
  },
  'type-malformed': {
    code: CNI_CODE.invalidConfig,
    msg: 'The network configuration\'s "type" must be the plugin\'s name, "weft"',
  },
  'dns-malformed': {
    code: CNI_CODE.invalidConfig,
    msg: 'The network configuration\'s "dns" must hold lists of strings "nameservers", "search", "options" and a string "domain"',
  },
  'previous-result-malformed': {
    code: CNI_CODE.invalidConfig,
    msg: 'The network configuration\'s "prevResult" is not a CNI result',
  },
  'valid-attachments-malformed': {
    code: CNI_CODE.invalidConfig,
    msg: 'The network configuration\'s "cni.dev/valid-attachments" must be a list of objects with "containerID" and "ifname"',
  },
};

export const configError = (reason: ConfigRefusal): CniError => CONFIG_ERRORS[reason];

export const isObject = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isOptionalString = (value: unknown): value is string | undefined =>
  value === undefined || typeof value === 'string';

const isStrings = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.every((word) => typeof word === 'string');

/** Decodes what the runtime gives on stdin, once parsed as JSON. Unknown keys are other plugins' or the runtime's: ignored. */
export function decodeNetworkConfig(value: unknown): Decoded<NetworkConfig, ConfigRefusal> {
  if (!isObject(value)) return refused('not-an-object');
  const { cniVersion, name, type } = value;
  if (!isCniVersion(cniVersion)) return refused('version-unsupported');
  if (typeof name !== 'string' || !/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name))
    return refused('name-malformed');
  if (typeof type !== 'string' || type === '' || /[/\\\0]/.test(type)) return refused('type-malformed');
  const dns = decodeDns(value['dns']);
  if (dns === undefined) return refused('dns-malformed');
  const previousResult = value['prevResult'] === undefined ? undefined : decodeResult(value['prevResult']);
  if (previousResult === undefined && value['prevResult'] !== undefined) {
    return refused('previous-result-malformed');
  }
  // Spec 1.1.0 as first released said "cni.dev/attachments"; libcni writes both keys.
  const listed = value['cni.dev/valid-attachments'] ?? value['cni.dev/attachments'];
  const isListed = 'cni.dev/valid-attachments' in value || 'cni.dev/attachments' in value;
  // libcni writes null for an empty list (a nil slice of Go).
  const validAttachments = isListed ? decodeAttachments(listed ?? []) : undefined;
  if (isListed && validAttachments === undefined) return refused('valid-attachments-malformed');
  return decoded({ cniVersion, name, type, dns, previousResult, validAttachments, fields: value });
}

function decodeDns(value: unknown): CniDns | undefined {
  if (value === undefined || value === null) return {};
  if (!isObject(value)) return undefined;
  const { nameservers, domain, search, options } = value;
  if (![nameservers, search, options].every((list) => list === undefined || isStrings(list)))
    return undefined;
  if (!isOptionalString(domain)) return undefined;
  return Object.fromEntries(
    Object.entries({ nameservers, domain, search, options }).filter(([, field]) => field !== undefined),
  );
}

function decodeResult(value: unknown): PreviousResult | undefined {
  if (!isObject(value)) return undefined;
  const interfaces = value['interfaces'] ?? [];
  const ips = value['ips'] ?? [];
  const routes = value['routes'] ?? [];
  if (!Array.isArray(interfaces) || !Array.isArray(ips) || !Array.isArray(routes)) return undefined;
  const decodedInterfaces = interfaces.map(decodeInterface);
  const decodedIps = ips.map(decodeIp);
  const decodedRoutes = routes.map(decodeRoute);
  if (!decodedInterfaces.every((entry) => entry !== undefined)) return undefined;
  if (!decodedIps.every((ip) => ip !== undefined)) return undefined;
  if (!decodedRoutes.every((route) => route !== undefined)) return undefined;
  return { interfaces: decodedInterfaces, ips: decodedIps, routes: decodedRoutes };
}

function decodeIp(value: unknown): PreviousResult['ips'][number] | undefined {
  if (!isObject(value)) return undefined;
  const { address, gateway } = value;
  return typeof address === 'string' && isOptionalString(gateway) ? { address, gateway } : undefined;
}

function decodeRoute(value: unknown): PreviousResult['routes'][number] | undefined {
  if (!isObject(value)) return undefined;
  const { dst, gw, table } = value;
  if (typeof dst !== 'string' || !isOptionalString(gw)) return undefined;
  return { dst, gw, table: typeof table === 'number' ? table : undefined };
}

function decodeInterface(value: unknown): PreviousResult['interfaces'][number] | undefined {
  if (!isObject(value)) return undefined;
  const { name, mac, sandbox, mtu } = value;
  if (typeof name !== 'string' || !isOptionalString(mac) || !isOptionalString(sandbox)) return undefined;
  if (mtu !== undefined && !Number.isSafeInteger(mtu)) return undefined;
  return { name, mac, sandbox, mtu: typeof mtu === 'number' && mtu > 0 ? mtu : undefined };
}

function decodeAttachments(value: unknown): readonly CniAttachment[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const attachments = value.map((entry: unknown): CniAttachment | undefined => {
    if (!isObject(entry)) return undefined;
    const { containerID, ifname } = entry;
    if (typeof containerID !== 'string' || typeof ifname !== 'string') return undefined;
    return { containerId: containerID, interfaceName: ifname };
  });
  return attachments.every((entry) => entry !== undefined) ? attachments : undefined;
}

/** What ADD made. */
export interface AttachmentResult {
  readonly host: { readonly name: string; readonly mac: Mac };
  /** `sandbox` is the path of the network namespace, as the runtime gave it. */
  readonly pod: { readonly name: string; readonly mac: Mac; readonly sandbox: string };
  readonly mtu: number;
  readonly address: Ipv4;
  readonly gateway: Ipv4;
  /** Table of the default route; undefined = the main one. */
  readonly routeTable?: number | undefined;
}

export interface CniResult {
  readonly cniVersion: CniVersion;
  readonly interfaces: readonly object[];
  readonly ips: readonly { readonly address: string; readonly gateway: string; readonly interface: number }[];
  readonly routes: readonly object[];
  readonly dns: CniDns;
}

/**
 * The result of ADD in the words of `version`: "version" in `ips` until 0.4.0, "mtu" in `interfaces` and "table" in `routes` from
 * 1.1.0 on; a route of another table than the main one cannot be told before.
 */
export function formatResult(version: CniVersion, result: AttachmentResult, dns: CniDns): CniResult {
  const mtu = version === '1.1.0' ? { mtu: result.mtu } : {};
  const family = version === '0.3.1' || version === '0.4.0' ? { version: '4' } : {};
  const { host, pod, routeTable } = result;
  const table = routeTable === undefined ? {} : { table: routeTable };
  const route = { dst: '0.0.0.0/0', gw: formatIpv4(result.gateway), ...table };
  return {
    cniVersion: version,
    interfaces: [
      { name: host.name, mac: formatMac(host.mac), ...mtu },
      { name: pod.name, mac: formatMac(pod.mac), ...mtu, sandbox: pod.sandbox },
    ],
    ips: [
      {
        ...family,
        address: `${formatIpv4(result.address)}/32`,
        gateway: formatIpv4(result.gateway),
        interface: 1,
      },
    ],
    routes: routeTable === undefined || version === '1.1.0' ? [route] : [],
    dns,
  };
}

export const formatError = (version: CniVersion, { code, msg, details }: CniError): object => ({
  cniVersion: version,
  code,
  msg,
  ...(details === undefined ? {} : { details }),
});

export const formatVersions = (version: CniVersion): object => ({
  cniVersion: version,
  supportedVersions: CNI_VERSIONS,
});
