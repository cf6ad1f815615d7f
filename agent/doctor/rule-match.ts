// Whether a condition of an nftables rule (libnftables-json(5)) holds for a packet: yes, no, or not known, because it asks for something that
// cannot be told from a listing. Pure.
import { cidrContains, type Ipv4, ipv4 } from '../../proto/address.ts';
import { parseIpv4 } from '../../proto/address-text.ts';

export type Truth = boolean | undefined;

export interface TestPacket {
  readonly hook: 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting';
  /** A frame on the way through a bridge: chains of that family see it, others do not. */
  readonly family?: 'bridge';
  /** Chains of devices that see it. */
  readonly deviceHook?: { readonly hook: 'ingress' | 'egress'; readonly device: string };
  readonly input: string | undefined;
  readonly output: string | undefined;
  /** Undefined: not known, here and below. */
  readonly source: Ipv4 | undefined;
  readonly destination: Ipv4;
  readonly protocol: 'udp' | 'tcp' | 'icmp' | undefined;
  readonly sourcePort: number | undefined;
  readonly destinationPort: number | undefined;
  readonly state: 'untracked' | 'new' | undefined;
  readonly isToThisNode: boolean;
}

export interface MatchContext {
  readonly packet: TestPacket;
  /** Of a named set of the rule's table. */
  readonly elementsOf: (name: string) => readonly unknown[] | undefined;
  /** The rule as nft writes it. */
  readonly text: string;
}

type Fields = Readonly<Record<string, unknown>>;
type Value = string | number;
/** The packet is of another protocol, so the rule does not apply, whatever it compares. */
const NO_FIELD = null;

/** As nft writes them, where the system has /etc/protocols: what rules of packet filters speak of. */
const PROTOCOLS: Readonly<Record<string, number>> = {
  icmp: 1,
  igmp: 2,
  ipencap: 4,
  tcp: 6,
  udp: 17,
  dccp: 33,
  ipv6: 41,
  gre: 47,
  esp: 50,
  ah: 51,
  'ipv6-icmp': 58,
  icmpv6: 58,
  ospf: 89,
  pim: 103,
  vrrp: 112,
  sctp: 132,
  udplite: 136,
};
/** Headers that a packet has one of. */
const TRANSPORTS: ReadonlySet<string> = new Set([
  'icmp',
  'igmp',
  'tcp',
  'udp',
  'dccp',
  'gre',
  'esp',
  'ah',
  'comp',
  'sctp',
  'udplite',
]);
/** Headers that no IPv4 packet has. */
const OTHERS: ReadonlySet<string> = new Set(['ip6', 'icmpv6', 'arp']);
const PORT_NAMES: Readonly<Record<string, number>> = { domain: 53, http: 80, https: 443 };

const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A `match`, or an `xt` match, of which nft's JSON tells the name only. */
export function matches(expression: Fields, context: MatchContext): Truth {
  const { match, xt } = expression;
  if (isFields(xt)) return matchesXt(xt, context);
  if (!isFields(match)) return undefined;
  const { op, left, right } = match;
  const actual = valueOf(left, context.packet);
  if (actual === undefined) return undefined;
  if (actual === NO_FIELD) return false;
  const holds = includes(actual, { right, context });
  if (holds === undefined) return undefined;
  if (op === '==' || op === 'in' || op === '=') return holds;
  return op === '!=' ? !holds : undefined;
}

function matchesXt({ name }: Fields, { packet, text }: MatchContext): Truth {
  if (name === 'comment') return true;
  if (name !== 'conntrack' && name !== 'state') return undefined;
  const [, negation, states] =
    /\bct state (!= )?(?:\{ )?([a-z, ]+?)(?: \}| (?=counter|drop|accept|jump))/.exec(text) ?? [];
  if (states === undefined || packet.state === undefined) return undefined;
  return (
    states
      .split(',')
      .map((word) => word.trim())
      .includes(packet.state) !==
    (negation !== undefined)
  );
}

/** What the packet has there; undefined: it is not known. */
function valueOf(left: unknown, packet: TestPacket): Value | typeof NO_FIELD | undefined {
  if (!isFields(left)) return undefined;
  const { meta, payload, ct, fib } = left;
  if (isFields(meta)) return metaOf(String(meta['key']), packet);
  if (isFields(payload)) return payloadOf(String(payload['protocol']), String(payload['field']), packet);
  if (isFields(ct)) {
    if (ct['key'] === 'state') return packet.state;
    if (ct['key'] === 'status') return ''; // of a first packet, whose addresses nobody has changed
    return ct['key'] === 'mark' ? 0 : undefined;
  }
  if (isFields(fib) && fib['result'] === 'type' && JSON.stringify(fib['flags']) === '["daddr"]') {
    return packet.isToThisNode ? 'local' : 'unicast';
  }
  const masked = left['&'];
  if (Array.isArray(masked) && masked.length === 2) {
    const inside = valueOf(masked[0], packet);
    return inside === 0 ? 0 : undefined; // marks: a packet of ours has none
  }
  return undefined;
}

function metaOf(key: string, { input, output, protocol, hook }: TestPacket): Value | undefined {
  switch (key) {
    case 'iifname':
    case 'iif':
      return input ?? '';
    case 'oifname':
    case 'oif':
      return output ?? '';
    case 'l4proto':
      return protocol && PROTOCOLS[protocol];
    case 'nfproto':
      return 'ipv4';
    case 'protocol':
      return 'ip';
    case 'mark':
      return 0;
    case 'pkttype':
      return hook === 'output' ? undefined : 'host';
    default:
      return undefined;
  }
}

function payloadOf(protocol: string, field: string, packet: TestPacket): Value | typeof NO_FIELD | undefined {
  if (protocol === 'ip') {
    if (field === 'saddr') return packet.source;
    if (field === 'daddr') return packet.destination;
    return field === 'protocol' ? packet.protocol && PROTOCOLS[packet.protocol] : undefined;
  }
  if (protocol === 'ether' && field === 'type') return 'ip';
  if (OTHERS.has(protocol)) return NO_FIELD;
  if (packet.protocol === undefined) return undefined;
  if (protocol === 'th' && packet.protocol === 'icmp') return NO_FIELD;
  if (protocol !== 'th' && protocol !== packet.protocol) {
    // Otherwise frames, what the tunnel carries, or bytes at an offset.
    return TRANSPORTS.has(protocol) ? NO_FIELD : undefined;
  }
  if (field === 'sport') return packet.sourcePort;
  return field === 'dport' ? packet.destinationPort : undefined;
}

function includes(
  actual: Value,
  { right, context }: { readonly right: unknown; readonly context: MatchContext },
): Truth {
  if (Array.isArray(right)) return any(right.map((item) => includes(actual, { right: item, context })));
  if (typeof right === 'string' && right.startsWith('@')) {
    const elements = context.elementsOf(right.slice(1));
    return elements && any(elements.map((item) => includes(actual, { right: item, context })));
  }
  if (isFields(right)) {
    const { set, prefix, range, elem } = right;
    if (set !== undefined) return includes(actual, { right: set, context });
    if (isFields(elem)) return includes(actual, { right: elem['val'], context });
    if (isFields(prefix)) return isInPrefix(actual, prefix);
    if (Array.isArray(range)) {
      const [first, last] = range.map(numberOf);
      const value = numberOf(actual);
      if (first === undefined || last === undefined || value === undefined) return undefined;
      return value >= first && value <= last;
    }
    return undefined;
  }
  if (typeof actual === 'string') {
    if (typeof right !== 'string') return undefined;
    return right.endsWith('*') ? actual.startsWith(right.slice(0, -1)) : actual === right;
  }
  const value = numberOf(right);
  return value === undefined ? undefined : value === actual;
}

/** Which entry of a verdict map is the packet's: its verdict, 'none' of them, or not known (undefined). */
export function chosenEntry({ key, data }: Fields, context: MatchContext): Fields | 'none' | undefined {
  const entries = entriesOf(data, context);
  const concatenated = isFields(key) ? key['concat'] : undefined;
  const parts = Array.isArray(concatenated) ? concatenated : [key];
  const actual = parts.map((part) => valueOf(part, context.packet));
  if (entries === undefined) return undefined;
  let isOpen = false;
  for (const entry of entries) {
    if (!Array.isArray(entry) || !isFields(entry[1])) return undefined;
    const wanted = partsOf(entry[0]);
    const truth = all(
      actual.map((value, at) => {
        if (value === undefined || value === NO_FIELD) return value === NO_FIELD ? false : undefined;
        return includes(value, { right: wanted[at], context });
      }),
    );
    if (truth === false) continue;
    if (truth === true) return isOpen ? undefined : entry[1];
    isOpen = true;
  }
  return isOpen ? undefined : 'none';
}

function entriesOf(data: unknown, { elementsOf }: MatchContext): readonly unknown[] | undefined {
  if (typeof data === 'string') return data.startsWith('@') ? elementsOf(data.slice(1)) : undefined;
  const set = isFields(data) ? data['set'] : undefined;
  return Array.isArray(set) ? set : undefined;
}

/** An element may have a comment, and is then wrapped. */
function partsOf(key: unknown): readonly unknown[] {
  if (!isFields(key)) return [key];
  if (isFields(key['elem'])) return partsOf(key['elem']['val']);
  return Array.isArray(key['concat']) ? key['concat'] : [key];
}

function any(truths: readonly Truth[]): Truth {
  if (truths.includes(true)) return true;
  return truths.includes(undefined) ? undefined : false;
}

function all(truths: readonly Truth[]): Truth {
  if (truths.includes(false)) return false;
  return truths.includes(undefined) ? undefined : true;
}

function isInPrefix(actual: Value, { addr, len }: Fields): Truth {
  const base = numberOf(addr);
  if (typeof actual === 'string') return undefined;
  if (base === undefined || typeof len !== 'number') return undefined;
  return cidrContains({ base: ipv4(base), prefixLength: len }, ipv4(actual));
}

/** Of a number, an address, a protocol or a port's name. */
function numberOf(value: unknown): number | undefined {
  if (typeof value === 'number') return value;
  if (typeof value !== 'string') return undefined;
  const named = PROTOCOLS[value] ?? PORT_NAMES[value];
  if (named !== undefined) return named;
  try {
    return parseIpv4(value);
  } catch {
    return undefined;
  }
}
