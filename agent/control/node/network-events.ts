// Which of the kernel's notifications mean that somebody changed something of ours: pure. A storm of ADDs and DELs sends many and none
// does: what a link shows is held against what it should show, the last message of a batch counting; of routes, addresses and nftables,
// which show only themselves, those count that this process did not cause.
import { cidrContains, cidrsOverlap } from '../../../proto/address.ts';
import type { NetlinkMessage } from '../../../proto/netlink.ts';
import { decodeNftEvent } from '../../../proto/nfnetlink-event.ts';
import { NFPROTO_BRIDGE, NFPROTO_INET } from '../../../proto/nfnetlink.ts';
import {
  AF_BRIDGE,
  AF_UNSPEC,
  decodeInterfaceSettings,
  decodeLinkHead,
  RTM_NEWNETCONF,
} from '../../../proto/rtnetlink-event.ts';
import { decodeLink, RTM_DELLINK, RTM_NEWLINK } from '../../../proto/rtnetlink-link.ts';
import {
  decodeAddress,
  decodeRoute,
  RT_TABLE_MAIN,
  RTM_DELADDR,
  RTM_DELROUTE,
  RTM_NEWADDR,
  RTM_NEWROUTE,
} from '../../../proto/rtnetlink-route.ts';
import { changeNeeded } from '../../linux/interface.ts';
import { FIREWALL_TABLE } from './firewall-rules.ts';
import type { ExpectedNetwork } from './node-network.ts';
import { isPortName, isPortRight } from './port-upkeep.ts';
import { BRIDGE, ROUTE_PROTOCOL, TUN } from './range-conflicts.ts';

/** Who made a change, as far as the kernel tells. */
export interface Author {
  /** Of a netlink socket, which is usually the id of its process. */
  readonly portId: number;
  readonly program?: string;
}

/** A reason to look. */
export interface Disturbance {
  /** Of the last change. */
  readonly author: Author | undefined;
  /** The nftables tables are concerned. */
  readonly rules: boolean;
}

export interface Batch {
  /** A message of NETLINK_ROUTE; it may be a view that does not outlive the call. */
  route(message: NetlinkMessage, isOwn: boolean): void;
  /** A message of NETLINK_NETFILTER. */
  netfilter(message: NetlinkMessage, isOwn: boolean): void;
  end(): Disturbance | undefined;
}

interface SavedLink {
  readonly payload: Uint8Array;
  readonly ofBridge: boolean;
  readonly portId: number;
}

export function createBatch(expected: ExpectedNetwork): Batch {
  const { range, ports, interfaces } = expected;
  const links = new Map<string, SavedLink>();
  let disturbed = false;
  let author: Author | undefined;
  let rules = false;
  let tableTouched = false;

  const blame = (portId: number): void => {
    disturbed = true;
    if (portId !== 0) author = { portId };
  };

  const link = ({ type, payload, portId }: Pick<NetlinkMessage, 'type' | 'payload' | 'portId'>): void => {
    const head = decodeLinkHead(payload);
    if (!head.ok) return;
    const { family, index, up } = head.value;
    if (family !== AF_UNSPEC && family !== AF_BRIDGE) return;
    const key = `${family} ${index}`;
    if (type === RTM_DELLINK) {
      links.delete(key);
      if (family === AF_UNSPEC && interfaces.has(index)) blame(portId);
      return;
    }
    // Down and up again loses routes, although the last message shows nothing.
    if (interfaces.get(index)?.up === true && !up) blame(portId);
    links.set(key, { payload: payload.slice(), ofBridge: family === AF_BRIDGE, portId });
  };

  const isLinkRight = ({ payload, ofBridge }: SavedLink): boolean => {
    const decodedLink = decodeLink(payload);
    if (!decodedLink.ok) return true;
    const found = decodedLink.value;
    if (isPortName(found.name)) return isPortRight(found, ofBridge, ports);
    if (ofBridge) return true;
    const wanted = interfaces.get(found.index);
    if (wanted !== undefined) return changeNeeded(found, wanted) === undefined;
    // Another one of our names; a pod's port that was renamed has its alias still.
    return found.name !== BRIDGE && found.name !== TUN && !(found.alias?.startsWith('weft:') === true);
  };

  const isOurAddress = (payload: Uint8Array): boolean => {
    const address = decodeAddress(payload);
    return address.ok && (interfaces.has(address.value.index) || cidrContains(range, address.value.address));
  };

  const isOurRoute = (payload: Uint8Array): boolean => {
    const route = decodeRoute(payload);
    if (!route.ok || route.value.table !== RT_TABLE_MAIN) return false;
    const { protocol, destination } = route.value;
    return protocol === ROUTE_PROTOCOL || (destination.prefixLength > 1 && cidrsOverlap(destination, range));
  };

  const isSettingWrong = (payload: Uint8Array): boolean => {
    const settings = decodeInterfaceSettings(payload);
    if (!settings.ok) return false;
    const { index, forwarding, rpFilter } = settings.value;
    const wanted = interfaces.get(index)?.inet;
    const differs = (value: number | undefined, right: number | undefined): boolean =>
      value !== undefined && right !== undefined && value !== right;
    return differs(forwarding, wanted?.forwarding) || differs(rpFilter, wanted?.rp_filter);
  };

  const concerns: Readonly<Record<number, (payload: Uint8Array) => boolean>> = {
    [RTM_NEWADDR]: isOurAddress,
    [RTM_DELADDR]: isOurAddress,
    [RTM_NEWROUTE]: isOurRoute,
    [RTM_DELROUTE]: isOurRoute,
    [RTM_NEWNETCONF]: isSettingWrong,
  };

  return {
    route(message, isOwn) {
      const { type, payload, portId } = message;
      if (type === RTM_NEWLINK || type === RTM_DELLINK) link(isOwn ? { ...message, portId: 0 } : message);
      else if (!isOwn && concerns[type]?.(payload) === true) blame(portId);
    },
    netfilter({ type, payload, portId }, isOwn) {
      if (isOwn) return;
      const event = decodeNftEvent(type, payload);
      if (!event.ok) return;
      if (event.value.kind === 'generation') {
        if (tableTouched) author = { portId: event.value.pid, program: event.value.program };
        tableTouched = false;
        return;
      }
      const { family, table } = event.value;
      if (table !== FIREWALL_TABLE || (family !== NFPROTO_INET && family !== NFPROTO_BRIDGE)) return;
      tableTouched = true;
      rules = true;
      blame(portId);
    },
    end() {
      for (const saved of links.values()) if (!isLinkRight(saved)) blame(saved.portId);
      return disturbed ? { author, rules } : undefined;
    },
  };
}
