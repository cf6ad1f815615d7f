// Reads what the nftables rules of firewall-rules.ts have refused: their counter objects, in one dump over the agent's own netlink socket.
// The counts are the kernel's: they outlive this process, and start at 0 when somebody deletes the tables.
import { FIREWALL_REASONS, type FirewallReason } from '../../../proto/drop-reason.ts';
import {
  decodeCounter,
  dumpCounters,
  NFPROTO_BRIDGE,
  NFPROTO_INET,
  NFT_MSG_NEWOBJ,
} from '../../../proto/nfnetlink.ts';
import { NETLINK_NETFILTER, openNetlink } from '../../linux/netlink-socket.ts';
import { COUNTER_FAMILIES, FIREWALL_TABLE } from './firewall-rules.ts';

export interface FirewallCounters {
  /** Packets refused by reason; a reason whose table is missing is left out. Synchronous. Throws OperationError: an errno name. */
  read(): ReadonlyMap<FirewallReason, number>;
  close(): void;
}

const FAMILY_NUMBERS = { inet: NFPROTO_INET, bridge: NFPROTO_BRIDGE } as const;

/** Throws OperationError: an errno name. */
export function openFirewallCounters(): FirewallCounters {
  const netlink = openNetlink(NETLINK_NETFILTER);
  return {
    read() {
      const counts = new Map<FirewallReason, number>();
      const objects = netlink.dump(
        dumpCounters(FIREWALL_TABLE),
        'read the counters of the nftables tables "weft"',
      );
      for (const { type, payload } of objects) {
        const counter = type === NFT_MSG_NEWOBJ ? decodeCounter(payload) : undefined;
        if (counter?.ok !== true) continue;
        const { family, table, name, packets } = counter.value;
        const reason = FIREWALL_REASONS.find((known) => known === name);
        if (reason === undefined || table !== FIREWALL_TABLE) continue;
        // A table of another family may have our name.
        if (family === FAMILY_NUMBERS[COUNTER_FAMILIES[reason]]) counts.set(reason, packets);
      }
      return counts;
    },
    close: () => netlink.close(),
  };
}
