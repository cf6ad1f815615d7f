// What befalls the simulated cluster: crashes, reboots, long absences, partitions, full and damaged disks, states put back, hand-overs, blocks
// deleted by hand, Nodes replaced and made again, two machines with one name.
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
/** Blocks that are older are known to every node that can be reached. */
const KNOWN_MS = 2.5 * MINUTE;
/** A holder that was cut off, or down, has made its block again after so long. */
const RESTORED_MS = 2 * MINUTE;

export class Disturbances {
  readonly #options: DisturbancesOptions;
  readonly #time: VirtualTime;
  readonly #chance: Chance;
  readonly #api: ModelApi;
  readonly #partitioned = new Set<string>();
  /** Of blocks, by name. */
  readonly #createdAtMs = new Map<string, number>();
  /** When a block was deleted by force. */
  #forcedAtMs = Number.NEGATIVE_INFINITY;
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

  /** Nothing more comes, and each name has one machine, which runs, and a Node. */
  end(): void {
    for (const name of new Set(this.#options.nodes().map((node) => node.name))) this.#part(name);
    for (const node of this.#options.nodes()) {
      if (!this.#api.nodes.has(node.name)) this.#api.addNode(node.name);
      if (!node.isUp) node.powerOn();
    }
  }

  #disturbance(): void {
    const node = this.#chance.oneOf(this.#options.nodes());
    if (node === undefined) return;
    switch (this.#chance.below(17)) {
      case 0:
        return this.#reboot(node, this.#chance.between(1000, MINUTE));
      case 1:
        return this.#chance.happens(0.4) ? this.#stayAway(node) : undefined;
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
        return this.#deleteBlockByHand();
      case 7:
        return this.#chance.happens(0.25) ? this.#replaceNode(node) : undefined;
      case 8:
        return this.#chance.happens(0.3) ? this.#recreateNode(node) : undefined;
      case 9:
        return this.#chance.happens(0.2) ? this.#damageLog(node) : undefined;
      case 10:
        return this.#rollBack(node);
      case 14:
        return this.#chance.happens(0.2) ? this.#double(node) : undefined;
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
    this.#come(downMs, () => {
      if (this.#options.nodes().includes(node) && !node.isUp) node.powerOn();
    });
  }

  /** Who comes may not know a block that was deleted by force, so it waits until its holder has made it again. */
  #come(delayMs: number, come: () => void): void {
    this.#time.setTimer(delayMs, () => {
      const restMs = this.#options.isQuiet() ? 0 : this.#forcedAtMs + RESTORED_MS - this.#time.now();
      if (restMs > 0) this.#come(restMs, come);
      else come();
    });
  }

  /** Names of blocks that all nodes know. */
  #knownBlocks(): readonly string[] {
    const nodes = this.#options.nodes();
    const areAllHere = nodes.every(
      ({ name, agent }) => agent?.hasHeardApi === true && !this.#partitioned.has(name),
    );
    const knownBefore = this.#time.now() - KNOWN_MS;
    return areAllHere
      ? [...this.#api.blocks().keys()].filter((name) => (this.#createdAtMs.get(name) ?? 0) < knownBefore)
      : [];
  }

  /** Its Node is deleted, or its blocks are by force, for so long that others have them when it is back. */
  #stayAway(node: SimulatedNode): void {
    if (!node.isUp) return;
    this.reboots += 1;
    node.powerOff();
    if (this.#chance.happens(0.5)) this.#api.removeNode(node.name);
    else {
      for (const [name, { spec }] of this.#api.blocks())
        if (spec.stateId === node.disk.stateId) this.#api.delete('addressblocks', name);
    }
    this.#come(this.#options.quarantineMs * this.#chance.between(0.5, 3), () => {
      if (!this.#options.nodes().includes(node)) return;
      if (!this.#api.nodes.has(node.name)) this.#api.addNode(node.name);
      if (!node.isUp) node.powerOn({ awaitsApi: true });
    });
  }

  /** By force: the holder makes it again as soon as it hears of it, and nobody comes who would not know it. */
  #deleteBlockByHand(): void {
    const name = this.#chance.oneOf(this.#knownBlocks());
    if (name === undefined) return;
    this.#forcedAtMs = this.#time.now();
    this.#api.delete('addressblocks', name);
  }

  #partition(name: string, mostMs: number): void {
    this.#partitioned.add(name);
    this.#time.setTimer(this.#chance.between(100, mostMs), () => this.#partitioned.delete(name));
  }

  /** The machine is gone for good, another one comes under its name, now and then with the same Node. */
  #replaceNode(node: SimulatedNode): void {
    this.#options.retire(node);
    if (this.#chance.happens(0.7)) this.#api.removeNode(node.name);
    this.#come(this.#chance.between(1000, this.#options.quarantineMs), () => {
      if (this.#machinesOf(node.name).length === 0) this.#options.join(node.name);
    });
  }

  /** A second machine with its name comes, and one of the two goes after a while. */
  #double({ name }: SimulatedNode): void {
    this.#come(0, () => {
      if (this.#machinesOf(name).length === 1 && !this.#options.isQuiet()) this.#options.join(name);
    });
    this.#time.setTimer(this.#chance.between(1000, 3 * this.#options.quarantineMs), () => this.#part(name));
  }

  /** All but one of its name go. */
  #part(name: string): void {
    const machines = this.#machinesOf(name);
    const one = this.#chance.oneOf(machines);
    for (const machine of machines) if (machine !== one) this.#options.retire(machine);
  }

  #machinesOf(name: string): readonly SimulatedNode[] {
    return this.#options.nodes().filter((node) => node.name === name);
  }

  /** Its Node object is deleted and made again while its pods run. */
  #recreateNode({ name }: SimulatedNode): void {
    this.#api.removeNode(name);
    this.#time.setTimer(this.#chance.between(500, MINUTE), () => {
      if (!this.#api.nodes.has(name)) this.#api.addNode(name);
    });
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
