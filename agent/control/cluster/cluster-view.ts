// What control believes about the cluster, as one immutable value: the snapshot at first, then what the reflectors of peers and blocks
// say. Pure: time and the deferral to the end of a turn are parameters. Objects that contradict others or the settings stay visible in
// `peers` and `blocks`, are named in `problems`, and take no part in forwarding.
import { type Cidr, cidrContains, formatCidr } from '../../../proto/address.ts';
import type { AddressBlock, Peer } from '../../../proto/api-kinds.ts';
import type { Clock } from '../../kube/clock.ts';
import type { ReflectorEvents } from '../../kube/reflector.ts';
import { LONGEST_QUARANTINE } from '../../settings.ts';
import { type BlockFacts, type PeerFacts, blockFacts, olderPeer, peerFacts } from './object-facts.ts';
import { AbandonedSince } from './abandoned-since.ts';
import { PeerSlots } from './peer-slots.ts';
import type { Snapshot } from './snapshot.ts';

export interface ClusterView {
  /** `api` once both kinds were listed; until then what the snapshot said, or nothing. */
  readonly source: 'snapshot' | 'api';
  readonly peers: ReadonlyMap<string, Peer>;
  readonly blocks: ReadonlyMap<string, AddressBlock>;
  readonly resourceVersions: { readonly peers?: string; readonly blocks?: string };
  /** Other nodes that packets can go to, by name. */
  readonly reachable: ReadonlyMap<string, ReachablePeer>;
  /** Blocks of the range that a node holds, by name. */
  readonly held: ReadonlyMap<string, BlockFacts>;
  /** Slots of all peers but this node. */
  readonly slots: ReadonlyMap<string, number>;
  /** Block name → time of `clock` at which it vanished. */
  readonly freedBlocks: ReadonlyMap<string, number>;
  /** Block name → time of `clock` since which its holder has no peer, or one of another state directory. */
  readonly abandonedBlocks: ReadonlyMap<string, number>;
  /** How many of the other nodes hold no block. */
  readonly nodesWithoutBlock: number;
  readonly problems: readonly ViewProblem[];
}

export interface ReachablePeer extends PeerFacts {
  readonly slot: number;
}

export interface ViewProblem {
  readonly kind:
    | 'same-address'
    | 'same-mac'
    | 'address-in-range'
    | 'unusable-peer'
    | 'no-slot'
    | 'unusable-block'
    | 'block-without-peer';
  /** Of the object that is left out. */
  readonly name: string;
  readonly text: string;
}

export interface ClusterViewOptions {
  readonly nodeName: string;
  readonly range: Cidr;
  readonly blockPrefixLength: number;
  readonly clock: Clock;
  /** Runs it once at the end of this turn of the event loop (setImmediate). */
  readonly defer: (run: () => void) => void;
  /** At most once a turn. */
  readonly onChange: (view: ClusterView) => void;
  readonly snapshot?: Snapshot;
}

export interface ClusterViewKeeper {
  /** For the two reflectors. */
  readonly peers: Pick<ReflectorEvents<Peer>, 'synced' | 'changed'>;
  readonly blocks: Pick<ReflectorEvents<AddressBlock>, 'synced' | 'changed'>;
  current(): ClusterView;
  /** The part of a snapshot that the view knows; `isKept`: by name, of blocks. */
  takeSnapshot(
    isKept?: (name: string) => boolean,
  ): Pick<Snapshot, 'peers' | 'blocks' | 'slots' | 'freedBlocks' | 'resourceVersions'>;
}

const FREED_MEMORY_MS = LONGEST_QUARANTINE * 1000;

interface Kind<T> {
  /** Changed in place; a view gets a copy, once a turn. */
  objects: Map<string, T>;
  resourceVersion: string | undefined;
  listed: boolean;
}

export function createClusterView(options: ClusterViewOptions): ClusterViewKeeper {
  const { clock, snapshot } = options;
  const startedAt = clock.now();
  const peers = initialKind(snapshot?.peers, snapshot?.resourceVersions.peers);
  const blocks = initialKind(snapshot?.blocks, snapshot?.resourceVersions.blocks);
  const slots = new PeerSlots(snapshot?.slots);
  const freed = new Map<string, number>();
  for (const [name, age] of Object.entries(snapshot?.freedBlocks ?? {})) freed.set(name, startedAt - age);

  const abandoned = new AbandonedSince();
  let view: ClusterView | undefined;
  let announced = false;
  const touched = (): void => {
    view = undefined;
    if (announced) return;
    announced = true;
    options.defer(() => {
      announced = false;
      options.onChange(current());
    });
  };

  const current = (): ClusterView =>
    (view ??= computeView({ options, peers, blocks, slots, freed, abandoned }));

  const noteBlocks = (change: Change): void => {
    const now = clock.now();
    // Who waited for the quarantine to take a block back has waited for all.
    for (const name of change.gone) freed.set(name, abandoned.of(name) ?? now);
    for (const name of change.present) freed.delete(name);
    for (const [name, at] of freed) if (now - at > FREED_MEMORY_MS) freed.delete(name);
    touched();
  };

  return {
    peers: handlers(peers, touched),
    blocks: handlers(blocks, noteBlocks),
    current,
    takeSnapshot(isKept = () => true) {
      const now = clock.now();
      return {
        peers: [...peers.objects.values()],
        blocks: [...blocks.objects.values()].filter(({ metadata }) => isKept(metadata.name)),
        resourceVersions: versions(peers, blocks),
        slots: Object.fromEntries(current().slots),
        freedBlocks: Object.fromEntries([...freed].map(([name, at]) => [name, Math.max(0, now - at)])),
      };
    },
  };
}

const initialKind = <T extends Peer | AddressBlock>(
  objects: readonly T[] = [],
  resourceVersion?: string,
): Kind<T> => ({
  objects: new Map(objects.map((object) => [object.metadata.name, object])),
  resourceVersion,
  listed: false,
});

const versions = (
  peers: Kind<Peer>,
  blocks: Kind<AddressBlock>,
): { readonly peers?: string; readonly blocks?: string } => ({
  ...(peers.resourceVersion === undefined ? {} : { peers: peers.resourceVersion }),
  ...(blocks.resourceVersion === undefined ? {} : { blocks: blocks.resourceVersion }),
});

interface Change {
  readonly gone: Iterable<string>;
  readonly present: Iterable<string>;
}

function handlers<T>(
  kind: Kind<T>,
  touched: (change: Change) => void,
): Pick<ReflectorEvents<T>, 'synced' | 'changed'> {
  return {
    synced(objects, resourceVersion) {
      const before = kind.objects;
      kind.listed = true;
      kind.objects = new Map(objects);
      kind.resourceVersion = resourceVersion;
      touched({ gone: [...before.keys()].filter((name) => !objects.has(name)), present: objects.keys() });
    },
    changed(name, object, resourceVersion) {
      if (object === undefined) kind.objects.delete(name);
      else kind.objects.set(name, object);
      kind.resourceVersion = resourceVersion;
      touched(object === undefined ? { gone: [name], present: [] } : { gone: [], present: [name] });
    },
  };
}

function computeView(state: {
  options: ClusterViewOptions;
  peers: Kind<Peer>;
  blocks: Kind<AddressBlock>;
  slots: PeerSlots;
  freed: ReadonlyMap<string, number>;
  abandoned: AbandonedSince;
}): ClusterView {
  const { options, peers, blocks } = state;
  const isHeard = peers.listed && blocks.listed;
  if (isHeard) state.abandoned.look(peers.objects, blocks.objects, options.clock.now());
  const problems: ViewProblem[] = [];
  const slots = state.slots.assign([...peers.objects.keys()].filter((name) => name !== options.nodeName));
  const usable = usablePeers(peers.objects, options, problems);
  const reachable = new Map<string, ReachablePeer>();
  for (const [name, facts] of usable) {
    if (name === options.nodeName) continue;
    const slot = slots.get(name);
    if (slot !== undefined) reachable.set(name, { ...facts, slot });
    else
      problems.push({ kind: 'no-slot', name, text: `peer "${name}" has no slot: there are too many peers` });
  }
  return {
    source: isHeard ? 'api' : 'snapshot',
    peers: new Map(peers.objects),
    blocks: new Map(blocks.objects),
    resourceVersions: versions(peers, blocks),
    reachable,
    held: heldBlocks(blocks.objects, { ...options, reachable }, problems),
    slots,
    freedBlocks: new Map(state.freed),
    abandonedBlocks: state.abandoned.all(),
    nodesWithoutBlock: nodesWithoutBlock(peers.objects, blocks.objects, options.nodeName),
    problems,
  };
}

function nodesWithoutBlock(
  peers: ReadonlyMap<string, Peer>,
  blocks: ReadonlyMap<string, AddressBlock>,
  nodeName: string,
): number {
  const holders = new Set([nodeName]);
  for (const { spec } of blocks.values()) holders.add(spec.node);
  return [...peers.keys()].filter((name) => !holders.has(name)).length;
}

/** This node first, then the oldest first: who comes later with the same address or MAC loses. */
function usablePeers(
  peers: ReadonlyMap<string, Peer>,
  { nodeName, range }: ClusterViewOptions,
  problems: ViewProblem[],
): ReadonlyMap<string, PeerFacts> {
  const usable = new Map<string, PeerFacts>();
  const byAddress = new Map<number, string>();
  const byMac = new Map<number, string>();
  const inOrder = [...peers.values()].sort((a, b) => {
    if (a.metadata.name === nodeName || b.metadata.name === nodeName) {
      return a.metadata.name === nodeName ? -1 : 1;
    }
    return olderPeer(a, b);
  });
  for (const peer of inOrder) {
    const { name } = peer.metadata;
    const problem = (kind: ViewProblem['kind'], text: string): number =>
      problems.push({ kind, name, text: `peer "${name}" ${text}` });
    const facts = peerFacts(peer);
    if (facts === undefined) {
      problem('unusable-peer', 'has no usable IPv4 address or VTEP MAC');
      continue;
    }
    if (cidrContains(range, facts.address)) {
      problem('address-in-range', `has an underlay address within the pods' range ${formatCidr(range)}`);
      continue;
    }
    const sameAddress = byAddress.get(facts.address);
    const sameMac = byMac.get(facts.vtepMac);
    if (sameAddress !== undefined) problem('same-address', `has the underlay address of "${sameAddress}"`);
    else if (sameMac !== undefined) problem('same-mac', `has the VTEP MAC of "${sameMac}"`);
    else {
      byAddress.set(facts.address, name);
      byMac.set(facts.vtepMac, name);
      usable.set(name, facts);
    }
  }
  return usable;
}

function heldBlocks(
  blocks: ReadonlyMap<string, AddressBlock>,
  options: ClusterViewOptions & { reachable: ReadonlyMap<string, ReachablePeer> },
  problems: ViewProblem[],
): ReadonlyMap<string, BlockFacts> {
  const { nodeName, reachable } = options;
  const held = new Map<string, BlockFacts>();
  for (const [name, block] of blocks) {
    const facts = blockFacts(block, options);
    if (facts === undefined) {
      const text = `block "${name}" is not a /${options.blockPrefixLength} of ${formatCidr(options.range)} by its own name`;
      problems.push({ kind: 'unusable-block', name, text });
      continue;
    }
    held.set(name, facts);
    if (facts.node === nodeName || reachable.has(facts.node)) continue;
    const text = `block "${name}" is held by "${facts.node}", which has no usable peer`;
    problems.push({ kind: 'block-without-peer', name, text });
  }
  return held;
}
