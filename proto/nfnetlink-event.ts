// What nf_tables tells by itself to those who joined its group (linux/netfilter/nf_tables.h): each object that a transaction made, changed or
// removed, whose first attribute is the name of its table, and at the end the new generation with the process that caused it.
import { type Decoded, decoded, refused } from './decoded.ts';
import { decodeAttributes } from './netlink.ts';

export const NFNLGRP_NFTABLES = 7;

const NFNL_SUBSYS_NFTABLES = 10;
const NFT_MSG_NEWGEN = 15;
const NFGENMSG_BYTES = 4;
const NFTA_TABLE = 1;
const NFTA_GEN_PROC_PID = 2;
const NFTA_GEN_PROC_NAME = 3;

export type NftEvent =
  | { readonly kind: 'object'; readonly family: number; readonly table: string }
  /** Process id as the machine counts, and the name that ps shows. */
  | { readonly kind: 'generation'; readonly pid: number; readonly program: string };

export type NftEventRefusal = 'truncated' | 'malformed' | 'not_nf_tables';

export function decodeNftEvent(type: number, payload: Uint8Array): Decoded<NftEvent, NftEventRefusal> {
  if (type >> 8 !== NFNL_SUBSYS_NFTABLES) return refused('not_nf_tables');
  const family = payload[0];
  if (family === undefined || payload.length < NFGENMSG_BYTES) return refused('truncated');
  const attributes = decodeAttributes(payload.subarray(NFGENMSG_BYTES));
  if (!attributes.ok) return refused('malformed');
  if ((type & 0xff) === NFT_MSG_NEWGEN) {
    const pid = attributes.value.u32be(NFTA_GEN_PROC_PID) ?? 0;
    return decoded({ kind: 'generation', pid, program: attributes.value.text(NFTA_GEN_PROC_NAME) ?? '' });
  }
  const table = attributes.value.text(NFTA_TABLE);
  return table === undefined ? refused('malformed') : decoded({ kind: 'object', family, table });
}
