// IPv4 policy rules over rtnetlink (linux/fib_rules.h): of one kind to be made, packets from one address look in one table; of any kind to be
// looked at.
//   fib_rule_hdr | family | dst length | src length | tos | table | reserved 2 | action | flags u32 |
import { type Cidr, type Ipv4, ipv4 } from './address.ts';
import { type Decoded, decoded, refused } from './decoded.ts';
import {
  decodeAttributes,
  encodeMessage,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  u32,
  u32be,
} from './netlink.ts';

export const RTM_NEWRULE = 32;
const RTM_DELRULE = 33;
const RTM_GETRULE = 34;

const AF_INET = 2;
const RULE_BYTES = 12;
/** Look in the rule's table. */
export const FR_ACT_TO_TBL = 1;
const FRA_DST = 1;
const FRA_SRC = 2;
const FRA_IIFNAME = 3;
const FRA_PRIORITY = 6;
const FRA_FWMARK = 10;
const FRA_SUPPRESS_PREFIXLEN = 14;
const FRA_TABLE = 15;
const FRA_FWMASK = 16;
const FRA_OIFNAME = 17;
const FRA_IP_PROTO = 22;
const FRA_SPORT_RANGE = 23;
const FRA_DPORT_RANGE = 24;
const FIB_RULE_INVERT = 2;

export interface SourceRule {
  readonly source: Ipv4;
  readonly table: number;
}

function ruleMessage(type: number, flags: number, { source, table }: SourceRule): Uint8Array {
  const header = new Uint8Array(RULE_BYTES);
  header.set([AF_INET, 0, 32, 0, 0, 0, 0, FR_ACT_TO_TBL]);
  const attributes = [u32be(FRA_SRC, source), u32(FRA_TABLE, table)];
  return encodeMessage({ type, flags: flags | NLM_F_ACK, header, attributes });
}

/** EEXIST when it is there. */
export const addSourceRule = (rule: SourceRule): Uint8Array =>
  ruleMessage(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, rule);
export const deleteSourceRule = (rule: SourceRule): Uint8Array => ruleMessage(RTM_DELRULE, 0, rule);

export function dumpRules(): Uint8Array {
  const header = new Uint8Array(RULE_BYTES);
  header[0] = AF_INET;
  return encodeMessage({ type: RTM_GETRULE, flags: NLM_F_DUMP, header, attributes: [] });
}

/** The payload of an RTM_NEWRULE. */
export function decodeSourceRule(
  payload: Uint8Array,
): Decoded<SourceRule, 'truncated' | 'malformed' | 'other'> {
  if (payload.length < RULE_BYTES) return refused('truncated');
  const attributes = decodeAttributes(payload.subarray(RULE_BYTES));
  if (!attributes.ok) return refused('malformed');
  const source = attributes.value.u32be(FRA_SRC);
  const table = attributes.value.u32(FRA_TABLE);
  const isOfOneAddress =
    payload[0] === AF_INET && payload[1] === 0 && payload[2] === 32 && payload[7] === FR_ACT_TO_TBL;
  if (!isOfOneAddress || source === undefined || table === undefined) return refused('other');
  return decoded({ source: ipv4(source), table });
}

/** Any IPv4 rule, as far as a packet of pods is concerned. */
export interface PolicyRule {
  readonly priority: number;
  readonly source: Cidr | undefined;
  readonly destination: Cidr | undefined;
  readonly mark: { readonly value: number; readonly mask: number } | undefined;
  readonly inputInterface: string | undefined;
  readonly outputInterface: string | undefined;
  /** FR_ACT_TO_TBL; 6, 7 and 8 refuse the packet (blackhole, unreachable, prohibit). */
  readonly action: number;
  readonly table: number;
  /** Routes with a prefix of at most this length are passed over: -1 none is. */
  readonly suppressedPrefixLength: number;
  readonly isInverted: boolean;
  /** Looks at protocol, ports or type of service too. */
  readonly isSelective: boolean;
}

const NONE = 0xffff_ffff;

/** The payload of an RTM_NEWRULE. */
export function decodePolicyRule(
  payload: Uint8Array,
): Decoded<PolicyRule, 'truncated' | 'malformed' | 'not_ipv4'> {
  if (payload.length < RULE_BYTES) return refused('truncated');
  const attributes = decodeAttributes(payload.subarray(RULE_BYTES));
  if (!attributes.ok) return refused('malformed');
  const [family, destinationLength = 0, sourceLength = 0, tos, table = 0, , , action = 0] = payload;
  if (family !== AF_INET || destinationLength > 32 || sourceLength > 32) return refused('not_ipv4');
  const own = attributes.value;
  const prefix = (type: number, prefixLength: number): Cidr | undefined =>
    prefixLength === 0 ? undefined : { base: ipv4(own.u32be(type) ?? 0), prefixLength };
  const markValue = own.u32(FRA_FWMARK);
  const mask = own.u32(FRA_FWMASK) ?? (markValue === undefined ? 0 : NONE);
  const suppressed = own.u32(FRA_SUPPRESS_PREFIXLEN) ?? NONE;
  const flags = new DataView(payload.buffer, payload.byteOffset, payload.byteLength).getUint32(8, true);
  return decoded({
    priority: own.u32(FRA_PRIORITY) ?? 0,
    source: prefix(FRA_SRC, sourceLength),
    destination: prefix(FRA_DST, destinationLength),
    mark: mask === 0 ? undefined : { value: markValue ?? 0, mask },
    inputInterface: own.text(FRA_IIFNAME),
    outputInterface: own.text(FRA_OIFNAME),
    action,
    table: own.u32(FRA_TABLE) ?? table,
    suppressedPrefixLength: suppressed === NONE ? -1 : suppressed,
    isInverted: (flags & FIB_RULE_INVERT) !== 0,
    isSelective:
      tos !== 0 ||
      [FRA_IP_PROTO, FRA_SPORT_RANGE, FRA_DPORT_RANGE].some((type) => own.bytes(type) !== undefined),
  });
}
