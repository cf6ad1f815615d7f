// One episode: a cluster of simulated nodes under faults until so many operations are done, then quiet, then the check that nothing was lost
// or left behind. Everything follows from the seed. Two things are spared, for the agent has no answer to them (docs/architecture.md names
// them): somebody deletes a block by force while its holder, or a node without memory of it, cannot hear of it; a node whose Node was
// deleted for longer than the quarantine comes back and cannot reach the API.
import { parseCidr } from '../../proto/address-text.ts';
import { formatIpv4 } from '../../proto/address.ts';
import { parseSettings } from '../../agent/settings.ts';
import { Chance } from './chance.ts';
import { Disturbances } from './disturbances.ts';
import { Invariants, type Violation } from './invariants.ts';
import { ModelApi } from './model-api.ts';
import { createModelHttp } from './model-http.ts';
import { type AgentWiring, REAL_WIRING } from './simulated-agent.ts';
import { SimulatedNode, type World } from './simulated-node.ts';
import { VirtualTime } from './virtual-time.ts';

export interface SimulationOptions {
  readonly seed: number;
  /** Effects of agents under faults: writes to the log, changes of the kernel, API requests, each with its answer. */
  readonly operations: number;
  readonly wiring?: AgentWiring;
  readonly bootId?: World['bootId'];
  readonly syncs?: boolean;
  readonly quarantineSeconds?: number;
}

export interface Outcome {
  readonly seed: number;
  readonly operations: number;
  /** ADD and DEL. */
  readonly requests: number;
  /** Agents that died between two effects, or with their machine. */
  readonly crashes: number;
  readonly reboots: number;
  readonly apiWrites: number;
  readonly simulatedMs: number;
  readonly added: number;
  readonly refusals: ReadonlyMap<string, number>;
  readonly violations: readonly Violation[];
}

/** 16 blocks: enough for every node's first and spare one, not for all that pods would like. */
const RANGES = [
  { range: '10.32.0.0/25', blockPrefix: 29 },
  { range: '10.32.0.0/24', blockPrefix: 28 },
] as const;
const MINUTE = 60_000;
/** Longer than anything here keeps an agent with pods from hearing that its block is gone; that is what it is for. */
const QUARANTINE_MS = 3 * MINUTE;

export async function simulate(options: SimulationOptions): Promise<Outcome> {
  return await new Simulation(options).run();
}

class Simulation {
  readonly #options: SimulationOptions;
  readonly #time = new VirtualTime();
  readonly #chance: Chance;
  readonly #api: ModelApi;
  readonly #world: World;
  readonly #blocks: (typeof RANGES)[number];
  #nodes: SimulatedNode[] = [];
  readonly #disturbances: Disturbances;
  #serial = 0;
  #added = 0;
  #isQuiet = false;
  readonly #refusals = new Map<string, number>();

  constructor(options: SimulationOptions) {
    const { seed, wiring = REAL_WIRING, bootId = (id) => id, syncs = true } = options;
    this.#options = options;
    this.#chance = new Chance(seed);
    this.#blocks = RANGES[this.#chance.happens(0.7) ? 0 : 1];
    const invariants = new Invariants({
      now: () => this.#time.now(),
      blocks: () => this.#api.blocks(),
      range: parseCidr(this.#blocks.range),
      blockPrefixLength: this.#blocks.blockPrefix,
    });
    this.#api = new ModelApi({
      time: this.#time,
      chance: this.#chance,
      blockCreated: (block) => {
        this.#disturbances.created(block);
        invariants.claimed(block);
      },
    });
    this.#world = {
      time: this.#time,
      chance: this.#chance,
      invariants,
      wiring,
      bootId,
      syncs,
      faults: 1,
      crashProbability: 0.0105,
      operations: 0,
      requests: 0,
      crashes: 0,
    };
    this.#disturbances = new Disturbances({
      time: this.#time,
      chance: this.#chance,
      api: this.#api,
      quarantineMs: QUARANTINE_MS,
      nodes: () => this.#nodes,
      isQuiet: () => this.#isQuiet,
      join: (name) => this.#join(name),
      retire: (node) => this.#retire(node),
    });
  }

  async run(): Promise<Outcome> {
    const world = this.#world;
    const { invariants } = world;
    const nodes = 3 + this.#chance.below(3);
    for (let index = 1; index <= nodes; index++) this.#join(`n${index}`);
    this.#disturbances.start();
    await this.#time.run(
      Number.POSITIVE_INFINITY,
      () => invariants.broken || world.operations >= this.#options.operations,
    );
    const { operations, requests } = world;
    if (!invariants.broken) await this.#settle();
    this.#isQuiet = true;
    for (const node of this.#nodes) this.#retire(node);
    return {
      seed: this.#options.seed,
      operations,
      requests,
      crashes: world.crashes,
      reboots: this.#disturbances.reboots,
      apiWrites: this.#api.writes,
      simulatedMs: this.#time.now(),
      added: this.#added,
      refusals: this.#refusals,
      violations: invariants.violations,
    };
  }

  #join(name: string): SimulatedNode {
    if (!this.#api.nodes.has(name)) this.#api.addNode(name);
    this.#serial += 1;
    const node = new SimulatedNode({
      settings: parseSettings({
        HOSTNAME: name,
        WEFT_NODE_IP: `192.168.1.${Number(name.slice(1))}`,
        IPALLOC_RANGE: this.#blocks.range,
        WEFT_BLOCK_PREFIX: String(this.#blocks.blockPrefix),
        WEFT_BLOCK_QUARANTINE_SECONDS: String(this.#options.quarantineSeconds ?? QUARANTINE_MS / 1000),
        WEFT_BLOCK_QUIET_SECONDS: '30',
      }),
      world: this.#world,
      serial: this.#serial,
      connect: (process) =>
        createModelHttp({
          api: this.#api,
          time: this.#time,
          chance: this.#chance,
          process,
          isPartitioned: () => this.#disturbances.isPartitioned(name),
          faults: () => this.#world.faults,
        }),
    });
    this.#nodes.push(node);
    node.startAgent();
    this.#schedulePods(node);
    return node;
  }

  /** Pods come in waves, so that blocks are claimed and given back. */
  #schedulePods(node: SimulatedNode): void {
    const next = (): void => {
      if (!this.#nodes.includes(node) || this.#isQuiet) return;
      const isBusy =
        Math.sin(this.#time.now() / (1.5 * MINUTE) + node.name.length + Number(node.name.slice(1)) * 2) >
        -0.2;
      if (node.pods.size < 24) void node.addPod(this.#chance.between(100, isBusy ? 15_000 : 3000));
      this.#time.setTimer(this.#chance.between(10, isBusy ? 600 : 1500), next);
    };
    this.#time.setTimer(this.#chance.between(0, 3000), next);
  }

  #retire(node: SimulatedNode): void {
    this.#nodes = this.#nodes.filter((other) => other !== node);
    node.isHeld = true;
    this.#added += node.added;
    for (const [code, count] of node.refusals)
      this.#refusals.set(code, (this.#refusals.get(code) ?? 0) + count);
    node.powerOff();
  }

  /** No more faults; pods that run stay. Then everything must fit, then they go. */
  async #settle(): Promise<void> {
    const world = this.#world;
    world.faults = 0;
    world.crashProbability = 0;
    this.#isQuiet = true;
    this.#disturbances.end();
    await this.#time.run(10 * MINUTE);
    this.#checkFit();
    for (const node of this.#nodes) for (const pod of node.pods.values()) void node.endPod(pod);
    await this.#time.run(1.5 * MINUTE);
    this.#checkFit();
    for (const node of this.#nodes) {
      const held = [...this.#api.blocks().values()].filter(({ spec }) => spec.node === node.name);
      if (node.pods.size > 0) world.invariants.broke('no leak', `${node.name} still has pods`);
      if (held.length > 2)
        world.invariants.broke('no leak', `${node.name} is empty and holds ${held.length} blocks`);
      if (held.length < 1) world.invariants.broke('serves after settling', `${node.name} has no block`);
    }
  }

  /** Records, kernel and API say the same. */
  #checkFit(): void {
    const { invariants } = this.#world;
    for (const node of this.#nodes) {
      const { agent } = node;
      if (agent?.pool === undefined) {
        invariants.broke('serves after settling', `${node.name} has no agent`);
        continue;
      }
      const records = agent.pool.list();
      for (const record of records) {
        const veth = node.kernel.veths.get(record.hostInterface);
        if (veth?.address !== record.address)
          invariants.broke('no leak', `${node.name} has a record of ${record.containerId} without its pod`);
      }
      for (const { hostInterface, address, alias } of node.kernel.veths.values()) {
        if (!records.some((record) => record.hostInterface === hostInterface && record.address === address))
          invariants.broke('no leak', `${node.name} has ${alias ?? hostInterface} without a record`);
        const holder = address === undefined ? undefined : invariants.holderOf(address);
        const isFenced =
          agent.link
            ?.claims()
            ?.state()
            .some(({ state }) => state === 'fenced') === true;
        if (address !== undefined && holder?.stateId !== node.disk.stateId && !isFenced)
          invariants.broke(
            'address in own block',
            `${node.name} has ${formatIpv4(address)}, in a block of ${holder?.node ?? 'nobody'}`,
          );
      }
      if (node.disk.tombstones.length > 0) invariants.broke('no leak', `${node.name} has tombstones left`);
      const blocks = [...this.#api.blocks().values()].filter(({ spec }) => spec.node === node.name);
      const uid = this.#api.nodes.get(node.name);
      if (blocks.some(({ spec }) => spec.nodeUid !== uid))
        invariants.broke('no leak', `${node.name} holds a block of its earlier life`);
    }
    for (const { metadata, spec } of this.#api.blocks().values()) {
      if (!this.#nodes.some(({ name }) => name === spec.node))
        invariants.broke('no leak', `${metadata.name} is held by ${spec.node}, which is gone`);
    }
  }
}
