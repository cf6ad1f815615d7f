// The anti-spoof set `bridge weft pods`: which interface may send with which MAC and IPv4 address. Rules that use it are in
// firewall-rules.ts; its elements change here, one nf_tables batch each, spoken by the agent itself because it is on the path of an ADD.
// Invariant: an element stands for exactly one attachment; the key is | ifname, 16 | MAC, 6 + 2 | IPv4, 4 |.
import { type Ipv4, ipv4, type Mac, mac } from '../../../proto/address.ts';
import {
  addSetElements,
  decodeGeneration,
  decodeSetElements,
  deleteSetElements,
  dumpSetElements,
  getGeneration,
  MAX_ELEMENTS_PER_MESSAGE,
  NFPROTO_BRIDGE,
  NFT_MSG_NEWSETELEM,
  type NftSet,
} from '../../../proto/nfnetlink.ts';
import { NETLINK_NETFILTER, type NetlinkSocket, openNetlink } from '../../linux/netlink-socket.ts';
import { codeOf, OperationError } from '../../operation-error.ts';

const INTERFACE_BYTES = 16;
const KEY_BYTES = 28;

const PODS: NftSet = { family: NFPROTO_BRIDGE, table: 'weft', name: 'pods' };

export interface PodElement {
  readonly hostInterface: string;
  readonly mac: Mac;
  readonly address: Ipv4;
}

export interface PodGuard {
  /** An element that is there already is left. Throws OperationError: NO_POD_SET when the set is gone. */
  add(element: PodElement): void;
  /** Removes every element of the interface; false when there was none, or no set. */
  remove(hostInterface: string): boolean;
  /** As remove, for several interfaces with one look at the set. */
  removeAll(hostInterfaces: ReadonlySet<string>): boolean;
  /** Empty also when the set is gone. */
  list(): readonly PodElement[];
  /** From `present`, as listed before `wanted` was found out, to `wanted`; answers how many were added and removed. */
  restore(change: { readonly present: readonly PodElement[]; readonly wanted: readonly PodElement[] }): {
    readonly added: number;
    readonly removed: number;
  };
  /** The number that every change of any nf_tables table raises. */
  generation(): number | undefined;
  close(): void;
}

export function encodePodKey({ hostInterface, mac, address }: PodElement): Uint8Array {
  const key = new Uint8Array(KEY_BYTES);
  new TextEncoder().encodeInto(hostInterface, key.subarray(0, INTERFACE_BYTES - 1));
  const view = new DataView(key.buffer);
  view.setUint16(INTERFACE_BYTES, Math.floor(mac / 2 ** 32));
  view.setUint32(INTERFACE_BYTES + 2, mac % 2 ** 32);
  view.setUint32(INTERFACE_BYTES + 8, address);
  return key;
}

export function decodePodKey(key: Uint8Array): PodElement | undefined {
  if (key.length !== KEY_BYTES) return undefined;
  const view = new DataView(key.buffer, key.byteOffset, key.byteLength);
  const name = key.subarray(0, INTERFACE_BYTES);
  const end = name.indexOf(0);
  return {
    hostInterface: new TextDecoder().decode(end < 0 ? name : name.subarray(0, end)),
    mac: mac(view.getUint16(INTERFACE_BYTES) * 2 ** 32 + view.getUint32(INTERFACE_BYTES + 2)),
    address: ipv4(view.getUint32(INTERFACE_BYTES + 8)),
  };
}

const sameElement = (a: PodElement, b: PodElement): boolean =>
  a.hostInterface === b.hostInterface && a.mac === b.mac && a.address === b.address;

export function createPodGuard(netlink: NetlinkSocket): PodGuard {
  const addAll = (elements: readonly PodElement[], action: string): void => {
    for (let start = 0; start < elements.length; start += MAX_ELEMENTS_PER_MESSAGE) {
      const keys = elements.slice(start, start + MAX_ELEMENTS_PER_MESSAGE).map(encodePodKey);
      netlink.request(addSetElements({ set: PODS, keys }), action);
    }
  };
  const removeAll = (elements: readonly PodElement[], action: string): void => {
    for (let start = 0; start < elements.length; start += MAX_ELEMENTS_PER_MESSAGE) {
      const keys = elements.slice(start, start + MAX_ELEMENTS_PER_MESSAGE).map(encodePodKey);
      try {
        netlink.request(deleteSetElements({ set: PODS, keys }), action);
      } catch (error) {
        if (codeOf(error) !== 'ENOENT') throw error;
        // One of them is gone already, and the batch did nothing.
        if (keys.length > 1) for (const element of elements) removeAll([element], action);
      }
    }
  };
  const list = (): readonly PodElement[] => {
    try {
      return netlink
        .dump(dumpSetElements(PODS), 'list the nftables set "bridge weft pods"')
        .filter(({ type }) => type === NFT_MSG_NEWSETELEM)
        .flatMap(({ payload }) => {
          const keys = decodeSetElements(payload);
          return keys.ok ? keys.value : [];
        })
        .map(decodePodKey)
        .filter((element) => element !== undefined);
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return [];
      throw error;
    }
  };
  const removeOf = (hostInterfaces: ReadonlySet<string>): boolean => {
    const own = list().filter(({ hostInterface }) => hostInterfaces.has(hostInterface));
    const names = [...hostInterfaces].join('", "');
    removeAll(own, `remove "${names}" from the nftables set "bridge weft pods"`);
    return own.length > 0;
  };
  return {
    add(element) {
      try {
        addAll([element], `allow "${element.hostInterface}" in the nftables set "bridge weft pods"`);
      } catch (error) {
        if (codeOf(error) !== 'ENOENT') throw error;
        throw new OperationError(
          `Cannot allow "${element.hostInterface}": the nftables set "bridge weft pods" is missing; the agent restores it, try again`,
          { code: 'NO_POD_SET', cause: error },
        );
      }
    },
    remove: (hostInterface) => removeOf(new Set([hostInterface])),
    removeAll: removeOf,
    list,
    restore({ present, wanted }) {
      const missing = wanted.filter((element) => !present.some((other) => sameElement(other, element)));
      const stale = present.filter((element) => !wanted.some((other) => sameElement(other, element)));
      removeAll(stale, 'remove stale elements from the nftables set "bridge weft pods"');
      addAll(missing, 'restore the nftables set "bridge weft pods"');
      return { added: missing.length, removed: stale.length };
    },
    generation() {
      const [message] = netlink.request(getGeneration(), 'read the nftables generation');
      const generation = message === undefined ? undefined : decodeGeneration(message.payload);
      return generation?.ok === true ? generation.value : undefined;
    },
    close: () => netlink.close(),
  };
}

export const openPodGuard = (): PodGuard => createPodGuard(openNetlink(NETLINK_NETFILTER));
