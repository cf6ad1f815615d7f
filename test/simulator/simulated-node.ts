// One simulated machine: kernel, disk, the agent that runs on it, and a container runtime that makes and ends pods, skips DEL now and then
// and leaves tombstones while no agent answers.
import { OperationError } from '../../agent/operation-error.ts';
import type { Settings } from '../../agent/settings.ts';
import type { Ipv4 } from '../../proto/address.ts';
import type { Chance } from './chance.ts';
import type { Invariants } from './invariants.ts';
import { ModelDisk, type Writer } from './model-disk.ts';
import { ModelKernel, type Veth } from './model-kernel.ts';
import type { HttpClient } from '../../agent/kube/http.ts';
import { type AgentWiring, SimulatedAgent } from './simulated-agent.ts';
import type { VirtualTime } from './virtual-time.ts';

export interface Pod {
  readonly containerId: string;
  readonly netns: number;
  state: 'starting' | 'running' | 'ending';
}

/** What the whole simulation shares. */
export interface World {
  readonly time: VirtualTime;
  readonly chance: Chance;
  readonly invariants: Invariants;
  readonly wiring: AgentWiring;
  /** What the node's agents are told, given the true one. */
  readonly bootId: (trueId: string) => string;
  readonly syncs: boolean;
  /** Scales all faults; 0 = none. */
  faults: number;
  crashProbability: number;
  /** Effects of agents: the points that one can die at. */
  operations: number;
  /** ADD and DEL. */
  requests: number;
  crashes: number;
}

export interface SimulatedNodeOptions {
  readonly settings: Settings;
  readonly world: World;
  readonly connect: (process: Writer) => HttpClient;
  /** Sets machines of the same name apart. */
  readonly serial: number;
}

const INTERFACE = 'eth0';

export class SimulatedNode {
  readonly name: string;
  readonly #options: SimulatedNodeOptions;
  readonly kernel: ModelKernel;
  readonly disk: ModelDisk;
  readonly pods: Map<string, Pod> = new Map();
  readonly #podOf = new Map<number, Pod>();
  #boot = 0;
  /** A container that is gone, whose id the runtime may use again. */
  #ended: string | undefined;
  #names = 0;
  #agents: SimulatedAgent[] = [];
  #sequences = new Set<number>();
  isUp = true;
  #awaitsApi = false;
  /** No restart by itself. */
  isHeld = false;
  added = 0;
  refusals: Map<string, number> = new Map();

  constructor(options: SimulatedNodeOptions) {
    const { world, settings, serial } = options;
    this.#options = options;
    this.name = settings.nodeName;
    this.#names = serial * 1_000_000;
    this.disk = new ModelDisk({ time: world.time, chance: world.chance, syncs: world.syncs });
    this.kernel = new ModelKernel(
      {
        configured: (veth, address) => this.#configured(veth, address),
        removed: (veth, by) => this.#removed(veth, by),
      },
      world.chance,
    );
  }

  /** The one that answers the shim. */
  get agent(): SimulatedAgent | undefined {
    return this.#agents.find(({ isServing }) => isServing);
  }

  get agents(): readonly SimulatedAgent[] {
    return this.#agents;
  }

  startAgent(): void {
    const { settings, world, connect, serial } = this.#options;
    const { time, chance, wiring, invariants } = world;
    if (!this.isUp) return;
    const agent = new SimulatedAgent({
      settings,
      bootId: world.bootId(`boot-${serial}-${this.#boot}`),
      disk: this.disk,
      kernel: this.kernel,
      connect,
      time,
      random: chance.random,
      wiring,
      dies: () => {
        world.operations += 1;
        return chance.happens(world.crashProbability);
      },
      died: (one) => this.#died(one),
      ended: (one) => one.kill(),
      failed: (error) =>
        invariants.broke('no bug of its own', String(error instanceof Error ? error.stack : error)),
    });
    this.#agents = [...this.#agents, agent];
    agent.start().then(
      () => this.#started(agent),
      (error: unknown) => {
        if (agent.isDead) return;
        invariants.broke('no bug of its own', String(error instanceof Error ? error.stack : error));
      },
    );
  }

  /** A new agent starts beside the one at work, which lets go after a while. */
  async handOver(): Promise<void> {
    const before = [...this.#agents];
    this.startAgent();
    await this.#options.world.time.after(this.#options.world.chance.between(0, 500));
    for (const agent of before) await agent.stop();
  }

  /** Power is lost; it comes up again by `powerOn`. */
  powerOff(): void {
    this.isUp = false;
    for (const agent of this.#agents) agent.kill();
    this.#agents = [];
    this.disk.crash();
    const old = [...this.pods.values()];
    this.#ended = undefined;
    this.pods.clear();
    this.#podOf.clear();
    this.kernel.reboot();
    // The kubelet deletes the sandboxes of before when it is back.
    for (const { containerId } of old) {
      if (this.#options.world.chance.happens(0.5))
        this.disk.tombstones.push({ containerId, interfaceName: INTERFACE });
    }
  }

  /** `awaitsApi`: no pod is added before the agent has heard the API. */
  powerOn({ awaitsApi = false }: { awaitsApi?: boolean } = {}): void {
    this.#boot += 1;
    this.isUp = true;
    this.#awaitsApi = awaitsApi;
    this.startAgent();
  }

  /** Sequences start anew. */
  forgetSequences(): void {
    this.#sequences = new Set();
  }

  async addPod(lifeMs: number): Promise<void> {
    const { world } = this.#options;
    if (!this.isUp) return;
    if (this.#awaitsApi && this.agent?.hasHeardApi !== true) return;
    this.#awaitsApi = false;
    this.#names += 1;
    const again = world.chance.happens(0.03) ? this.#ended : undefined;
    this.#ended = undefined;
    const containerId = again ?? `c${this.#boot}-${this.#names}`;
    const pod: Pod = { containerId, netns: this.#names, state: 'starting' };
    this.pods.set(pod.containerId, pod);
    this.#podOf.set(pod.netns, pod);
    this.kernel.makeNamespace(pod.netns);
    world.requests += 1;
    try {
      await this.#ask((agent) =>
        agent.add({
          containerId: pod.containerId,
          interfaceName: INTERFACE,
          netns: '/var/run/netns/x',
          descriptors: { netlinkFd: pod.netns, netnsFd: pod.netns },
          podName: undefined,
          network: 'weft',
          requested: { address: undefined, mac: undefined },
        }),
      );
      if (this.pods.get(pod.containerId) !== pod) return; // the machine went down
      pod.state = 'running';
      this.added += 1;
      world.time.setTimer(lifeMs, () => void this.endPod(pod));
    } catch (error) {
      const code = error instanceof OperationError ? error.code : 'UNKNOWN';
      this.refusals.set(code, (this.refusals.get(code) ?? 0) + 1);
      if (!(error instanceof OperationError))
        world.invariants.broke('no bug of its own', `ADD: ${String(error)}`);
      await this.endPod(pod);
    }
  }

  async endPod(pod: Pod): Promise<void> {
    const { world } = this.#options;
    if (this.pods.get(pod.containerId) !== pod || pod.state === 'ending') return;
    pod.state = 'ending';
    const attachment = { containerId: pod.containerId, interfaceName: INTERFACE };
    if (!world.chance.happens(0.03 * world.faults)) {
      world.requests += 1;
      try {
        await this.#ask((agent) => agent.del(attachment));
      } catch (error) {
        if (!(error instanceof OperationError))
          world.invariants.broke('no bug of its own', `DEL: ${String(error)}`);
        if (this.pods.get(pod.containerId) !== pod) return;
        this.disk.tombstones.push(attachment);
      }
    }
    await world.time.after(world.chance.between(0, 200));
    if (this.pods.get(pod.containerId) !== pod) return;
    this.kernel.removeNamespace(pod.netns);
    this.#podOf.delete(pod.netns);
    this.pods.delete(pod.containerId);
    this.#ended = pod.containerId;
  }

  async #ask(work: (agent: SimulatedAgent) => Promise<void>): Promise<void> {
    const { agent } = this;
    if (agent === undefined) throw new OperationError('nobody listens', { code: 'NO_AGENT' });
    await work(agent);
  }

  #died(agent: SimulatedAgent): void {
    const { world } = this.#options;
    this.#agents = this.#agents.filter((other) => other !== agent);
    if (!agent.isStopping) world.crashes += 1;
    if (this.disk.writer === agent) this.disk.crash();
    if (!this.isUp || this.isHeld || this.#agents.length > 0) return;
    const pause = world.chance.happens(0.02 * world.faults) ? world.chance.between(5000, 20_000) : 1000;
    world.time.setTimer(world.chance.between(20, pause), () => {
      if (this.#agents.length === 0) this.startAgent();
    });
  }

  #started(agent: SimulatedAgent): void {
    const { invariants } = this.#options.world;
    const mine = `c${this.#boot}-`;
    const old = agent.pool?.list().find(({ containerId }) => !containerId.startsWith(mine));
    if (old !== undefined && !agent.isDead)
      invariants.broke(
        'void after a reboot',
        `${this.name} has a record of ${old.containerId} in boot ${this.#boot}`,
      );
  }

  #configured(veth: Veth, address: Ipv4): void {
    const { invariants } = this.#options.world;
    const pod = this.#podOf.get(veth.netns);
    const owner = pod?.containerId ?? `namespace ${veth.netns}`;
    if (this.disk.isUnsynced(owner))
      invariants.broke('written ahead', `${owner} on ${this.name} is not durable`);
    const sequence = this.agent?.pool?.find({ containerId: owner, interfaceName: INTERFACE })?.sequence;
    if (sequence !== undefined) {
      if (this.#sequences.has(sequence))
        invariants.broke('sequence used twice', `${sequence} on ${this.name}, the second time by ${owner}`);
      this.#sequences.add(sequence);
    }
    invariants.came(address, { node: this.name, stateId: this.disk.stateId, owner });
  }

  #removed(veth: Veth, by: 'agent' | 'runtime' | 'reboot'): void {
    const { invariants } = this.#options.world;
    const pod = this.#podOf.get(veth.netns);
    const owner = pod?.containerId ?? `namespace ${veth.netns}`;
    if (veth.address === undefined) return;
    invariants.went(veth.address, {
      node: this.name,
      stateId: this.disk.stateId,
      owner: this.#ownerAtBirth(veth, owner),
    });
    if (by === 'agent' && pod?.state === 'running')
      invariants.broke('living pod keeps its interface', `${owner} on ${this.name} was cut off`);
  }

  /** The alias knows it when the runtime has forgotten. */
  #ownerAtBirth({ alias }: Veth, owner: string): string {
    return alias?.split(':')[1] ?? owner;
  }
}
