// The address and the MAC that a runtime asks for: by the capabilities "ips" and "mac", by `args.cni.ips`, or by IP= and MAC= in
// CNI_ARGS (CNI CONVENTIONS.md); the first of them that is there counts. A pod has one IPv4 address, as /32 whatever prefix is given.
import type { Ipv4, Mac } from './address.ts';
import { parseIpv4, parseMac } from './address-text.ts';
import type { CniArguments } from './cni-environment.ts';
import { CNI_CODE, type CniError, type Fields, isObject } from './cni.ts';

export interface RequestedIdentity {
  readonly address: Ipv4 | undefined;
  readonly mac: Mac | undefined;
}

export type RequestedAnswer<T = RequestedIdentity> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: CniError };

const refuse = (code: number, msg: string): { readonly ok: false; readonly error: CniError } => ({
  ok: false,
  error: { code, msg },
});

/** Where the value stands, and the code of the specification for a wrong one there. */
interface Source {
  readonly name: string;
  readonly code: number;
  readonly value: unknown;
}

export function decodeRequested(
  config: Fields,
  args: Pick<CniArguments, 'address' | 'mac'>,
): RequestedAnswer {
  const runtimeConfig = isObject(config['runtimeConfig']) ? config['runtimeConfig'] : {};
  const cni = isObject(config['args']) && isObject(config['args']['cni']) ? config['args']['cni'] : {};
  const given = (name: string, value: unknown, code: number): Source => ({ name, code, value });
  const { invalidConfig, invalidEnvironment } = CNI_CODE;
  const ips = firstGiven([
    given('runtimeConfig.ips', runtimeConfig['ips'], invalidConfig),
    given('args.cni.ips', cni['ips'], invalidConfig),
    given('CNI_ARGS IP', args.address, invalidEnvironment),
  ]);
  const text = firstGiven([
    given('runtimeConfig.mac', runtimeConfig['mac'], invalidConfig),
    given('CNI_ARGS MAC', args.mac, invalidEnvironment),
  ]);
  const address = ips === undefined ? NOTHING : addressOf(ips);
  if (!address.ok) return address;
  const mac = text === undefined ? NOTHING : macOf(text);
  if (!mac.ok) return mac;
  return { ok: true, value: { address: address.value, mac: mac.value } };
}

const NOTHING = { ok: true, value: undefined } as const;

/** Empty is not given: Go writes null, [] and "" for what is not set. */
const firstGiven = (sources: readonly Source[]): Source | undefined =>
  sources.find(
    ({ value }) =>
      value !== undefined && value !== null && value !== '' && !(Array.isArray(value) && value.length === 0),
  );

const quote = (value: unknown): string => JSON.stringify(value).slice(0, 200);

function addressOf({ name, code, value }: Source): RequestedAnswer<Ipv4> {
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  const texts = list.filter((entry) => typeof entry === 'string');
  if (texts.length !== list.length || (typeof value === 'string') !== name.startsWith('CNI_ARGS')) {
    return refuse(code, `${name} ${quote(value)} is invalid: give a list of addresses as text`);
  }
  const [text = '', ...more] = texts;
  if (more.length > 0 || text.includes(':')) {
    return refuse(
      CNI_CODE.unsupportedField,
      `${name} ${quote(value)} is not supported: a pod gets one IPv4 address, so ask for one`,
    );
  }
  const [address = '', prefix] = text.split('/', 2);
  const isPrefix = prefix === undefined || (/^\d{1,2}$/.test(prefix) && Number(prefix) <= 32);
  const parsed = isPrefix ? parsedBy(parseIpv4, address) : undefined;
  if (parsed !== undefined) return { ok: true, value: parsed };
  return refuse(code, `${name} "${text.slice(0, 100)}" is invalid: write it as 10.32.0.5`);
}

function parsedBy<T>(parse: (text: string) => T, text: string): T | undefined {
  try {
    return parse(text);
  } catch {
    return undefined; // what is wrong is said with the name of the source
  }
}

const MULTICAST_BIT = 2 ** 40;

function macOf({ name, code, value }: Source): RequestedAnswer<Mac> {
  const text = typeof value === 'string' ? value : quote(value);
  const mac = parsedBy(parseMac, text);
  if (mac !== undefined && mac !== 0 && Math.floor(mac / MULTICAST_BIT) % 2 === 0) {
    return { ok: true, value: mac };
  }
  return refuse(
    code,
    `${name} "${text.slice(0, 100)}" is invalid: write a unicast MAC address such as 0e:00:5e:00:53:01`,
  );
}
