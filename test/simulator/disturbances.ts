// What befalls the simulated cluster: crashes, reboots, long absences, partitions, full and damaged disks, states put back, hand-overs, blocks
// deleted by hand, Nodes replaced and made again.
import type { AddressBlock } from '../../proto/api-kinds.ts';
import type { Chance } from './chance.ts';
import type { ModelApi } from './model-api.ts';
import type { SimulatedNode } from './simulated-node.ts';
import type { VirtualTime } from './virtual-time.ts';

export interface DisturbancesOptions {
  readonly time: VirtualTime;
  readonly chance: Chance;
  readonly api: ModelApi;
  readonly quarantineMs: number;
  readonly nodes: () => readonly SimulatedNode[];
  /** Nothing more is to happen. */
  readonly isQuiet: () => boolean;
  readonly join: (name: string) => unknown;
  readonly retire: (node: SimulatedNode) => void;
}

const MINUTE = 60_000;
/** Until all that were out of reach have heard of a block that was deleted. */
const HEARD_MS = 1.75 * MINUTE;
/** Blocks that are older are known to every node. */
const KNOWN_MS = 2.5 * MINUTE;

export class Disturbances {
  readonly #options: DisturbancesOptions;
  readonly #time: VirtualTime;
  readonly #chance: Chance;
  readonly #api: ModelApi;
  readonly #partitioned = new Set<string>();
  /** Of blocks, by name. */
  readonly #createdAtMs = new Map<string, number>();
  /** When a block was taken from a node that runs. */
  #takenAtMs = Number.NEGATIVE_INFINITY;
  reboots = 0;

  constructor(options: DisturbancesOptions) {
    this.#options = options;
    this.#time = options.time;
    this.#chance = options.chance;
    this.#api = options.api;
  }

  isPartitioned(node: string): boolean {
    return this.#partitioned.has(node);
  }

  created({ metadata }: AddressBlock): void {
    this.#createdAtMs.set(metadata.name, this.#time.now());
  }

  start(): void {
    const next = (): void => {
      if (this.#options.isQuiet()) return;
      this.#disturbance();
      this.#time.setTimer(this.#chance.between(1000, 20_000), next);
    };
    this.#time.setTimer(10_000, next);
  }

  #disturbance(): void {
    const node = this.#chance.oneOf(this.#options.nodes());
    if (node === undefined) return;
    switch (this.#chance.below(16)) {
      case 0:
        return this.#reboot(node, this.#chance.between(1000, MINUTE));
      case 1:
        return this.#chance.happens(0.15) ? this.#stayAway(node) : undefined;
      case 2:
        return this.#partition(node.name, MINUTE / 2);
      case 3:
        return this.#api.compact();
      case 4:
        node.disk.isFull = true;
        this.#time.setTimer(this.#chance.between(100, MINUTE), () => {
          node.disk.isFull = false;
        });
        return;
      case 5:
      case 6:
      case 12:
      case 13:
        return this.#deleteBlocksByHand();
      case 7:
        return this.#chance.happens(0.15) ? this.#replaceNode(node) : undefined;
      case 8:
        return this.#chance.happens(0.3) ? this.#recreateNode(node) : undefined;
      case 9:
        return this.#chance.happens(0.2) ? this.#damageLog(node) : undefined;
      case 10:
        return this.#rollBack(node);
      case 11:
        if (node.agent !== undefined) void node.handOver();
        return;
      default:
        for (const agent of node.agents) agent.kill();
    }
  }

  #reboot(node: SimulatedNode, downMs: number): void {
    if (!node.isUp) return;
    this.reboots += 1;
    node.powerOff();
    this.#whenHeard(downMs, () => {
      if (this.#options.nodes().includes(node) && !node.isUp) node.powerOn();
    });
  }

  /** Who comes (back) may not have heard of the blocks that were deleted meanwhile. */
  #whenHeard(delayMs: number, come: () => void): void {
    this.#time.setTimer(delayMs, () => {
      const restMs = this.#options.isQuiet() ? 0 : this.#takenAtMs + HEARD_MS - this.#time.now();
      if (restMs > 0) this.#whenHeard(restMs, come);
      else come();
    });
  }

  /** Names of the node's blocks that all nodes know, but those that are away and come later: these can be taken from it. */
  #knownBlocksOf(node: string): readonly string[] {
    const areAllHere = this.#options
      .nodes()
      .every(({ isUp, agents }) => !isUp || agents.some(({ hasHeardApi }) => hasHeardApi));
    const knownBefore = this.#time.now() - KNOWN_MS;
    if (this.#time.now() < this.#takenAtMs + 2 * HEARD_MS) return []; // those that wait come first
    return this.#blocksOf(node).filter(
      (name) => areAllHere && (this.#createdAtMs.get(name) ?? 0) < knownBefore,
    );
  }

  #blocksOf(node: string): readonly string[] {
    return [...this.#api.blocks()].flatMap(([name, { spec }]) => (spec.node === node ? [name] : []));
  }

  /** For so long that others may have its blocks, which a person deleted. */
  #stayAway(node: SimulatedNode): void {
    if (!node.isUp) return;
    this.#reboot(node, this.#options.quarantineMs * this.#chance.between(1.5, 3));
    for (const name of this.#blocksOf(node.name)) this.#api.delete('addressblocks', name);
  }

  /** One of a node that hears of it, or all of one that is out of reach for a while. */
  #deleteBlocksByHand(): void {
    const name = this.#chance.oneOf(this.#options.nodes())?.name ?? '';
    const known = this.#knownBlocksOf(name);
    if (known.length === 0) return;
    this.#takenAtMs = this.#time.now();
    const isUnheard = this.#chance.happens(0.6);
    if (isUnheard) this.#partition(name, MINUTE);
    for (const block of isUnheard ? known : known.slice(-1)) this.#api.delete('addressblocks', block);
  }

  #partition(name: string, mostMs: number): void {
    this.#partitioned.add(name);
    this.#time.setTimer(this.#chance.between(100, mostMs), () => this.#partitioned.delete(name));
  }

  /** The machine is gone for good, another one comes under its name. */
  #replaceNode(node: SimulatedNode): void {
    this.#options.retire(node);
    this.#api.removeNode(node.name);
    this.#whenHeard(this.#chance.between(1000, this.#options.quarantineMs), () => {
      this.#api.addNode(node.name);
      this.#options.join(node.name);
    });
  }

  /** Its Node object is deleted and made again while its pods run. */
  #recreateNode({ name }: SimulatedNode): void {
    const known = this.#knownBlocksOf(name);
    if (known.length === 0 || known.length < this.#blocksOf(name).length) return;
    this.#takenAtMs = this.#time.now();
    this.#api.removeNode(name);
    this.#time.setTimer(this.#chance.between(500, MINUTE), () => this.#api.addNode(name));
  }

  #damageLog(node: SimulatedNode): void {
    for (const agent of node.agents) agent.kill();
    node.disk.damage();
    node.forgetSequences();
  }

  /** An older state of the disk is put back: under running pods, or with a reboot as a snapshot of a VM. */
  #rollBack(node: SimulatedNode): void {
    const content = node.disk.save();
    this.#time.setTimer(this.#chance.between(1000, MINUTE), () => {
      if (!this.#options.nodes().includes(node) || !node.isUp) return;
      if (this.#chance.happens(0.5)) this.#reboot(node, this.#chance.between(1000, MINUTE));
      else for (const agent of node.agents) agent.kill();
      node.disk.rollBack(content);
      node.forgetSequences();
    });
  }
}
