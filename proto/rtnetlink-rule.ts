// IPv4 policy rules over rtnetlink (linux/fib_rules.h), of one kind: packets from one address look in one table.
//   fib_rule_hdr | family | dst length | src length | tos | table | reserved 2 | action | flags u32 |
import { type Ipv4, ipv4 } from './address.ts';
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
const FR_ACT_TO_TBL = 1;
const FRA_SRC = 2;
const FRA_TABLE = 15;

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
