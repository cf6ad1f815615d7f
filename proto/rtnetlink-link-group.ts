// Deleting many network interfaces with one request (linux/if_link.h, IFLA_GROUP): the kernel waits once for all that still look at
// them, not once each. An interface is put into a group by its name; RTM_DELLINK with a group alone deletes all of its members.
import { encodeMessage, NLM_F_ACK, text, u32 } from './netlink.ts';
import { RTM_NEWLINK } from './rtnetlink-link.ts';

const RTM_DELLINK = 17;
const IFINFO_BYTES = 16;
const IFLA_IFNAME = 3;
const IFLA_GROUP = 27;

export const moveToGroup = (name: string, group: number): Uint8Array =>
  encodeMessage({
    type: RTM_NEWLINK,
    flags: NLM_F_ACK,
    header: new Uint8Array(IFINFO_BYTES),
    attributes: [text(IFLA_IFNAME, name), u32(IFLA_GROUP, group)],
  });

/** Refused with ENODEV when the group is empty. */
export const deleteGroup = (group: number): Uint8Array =>
  encodeMessage({
    type: RTM_DELLINK,
    flags: NLM_F_ACK,
    header: new Uint8Array(IFINFO_BYTES),
    attributes: [u32(IFLA_GROUP, group)],
  });
