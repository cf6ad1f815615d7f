// Control on a simulated node: the agent's own modules, put together as agent/control/serve.ts does it, over the model's disk, kernel and API.
// It dies between any two effects; what a dead one still computes has no effect.
import { createAttachments } from '../../agent/control/cni/attachments.ts';
import {
  type AddRequest,
  type CniHandler,
  type CniServer,
  createCniServer,
} from '../../agent/control/cni/cni-server.ts';
import { kernelAttachments } from '../../agent/control/cni/kernel-attachments.ts';
import { type LeakWatch, createLeakWatch } from '../../agent/control/cni/leak-watch.ts';
import { type ClusterLink, startClusterLink } from '../../agent/control/cluster/cluster-link.ts';
import { type ClusterViewKeeper, createClusterView } from '../../agent/control/cluster/cluster-view.ts';
import type { Snapshot } from '../../agent/control/cluster/snapshot.ts';
import { type SnapshotWriter, createSnapshotWriter } from '../../agent/control/cluster/snapshot-writer.ts';
import { restoreAllocations } from '../../agent/control/restore.ts';
import { bridgeAddress } from '../../agent/ipam/address-queue.ts';
import { type Attachment, type LoggedAddressPool, createAddressPool } from '../../agent/ipam/address-pool.ts';
import { type LogContent, decodeLog } from '../../agent/ipam/log-record.ts';
import type { Clock } from '../../agent/kube/clock.ts';
import type { HttpClient } from '../../agent/kube/http.ts';
import { OperationError } from '../../agent/operation-error.ts';
import type { Settings } from '../../agent/settings.ts';
import type { Logger } from '../../agent/telemetry/logger.ts';
import { formatCidr } from '../../proto/address.ts';
import { decoded } from '../../proto/decoded.ts';
import type { ModelDisk, Writer } from './model-disk.ts';
import type { ModelKernel } from './model-kernel.ts';
import type { VirtualTime } from './virtual-time.ts';

export const AGENT_DEAD = 'AGENT_DEAD';
const LOCK_INTERVAL_MS = 10;
const LOOK_MS = 5000;
const MTU = 1450;

/** What of the agent a mutation takes out of force. */
export interface AgentWiring {
  readonly decodeLog: (bytes: Uint8Array) => LogContent;
  readonly view: (keeper: ClusterViewKeeper, settings: Settings) => ClusterViewKeeper;
}

export const REAL_WIRING: AgentWiring = { decodeLog, view: (keeper) => keeper };

export interface SimulatedAgentOptions {
  readonly settings: Settings;
  readonly bootId: string;
  readonly disk: ModelDisk;
  readonly kernel: ModelKernel;
  readonly connect: (process: Writer) => HttpClient;
  readonly time: VirtualTime;
  readonly random: () => number;
  readonly wiring: AgentWiring;
  /** Asked before and after each effect: true kills it there. */
  readonly dies: () => boolean;
  readonly died: (agent: SimulatedAgent) => void;
  /** Found its Node to be another: it ends by itself. */
  readonly ended: (agent: SimulatedAgent) => void;
  readonly failed: (error: unknown) => void;
}

interface Parts {
  readonly pool: LoggedAddressPool;
  readonly link: ClusterLink;
  readonly writer: SnapshotWriter;
  readonly handler: CniHandler;
  readonly server: CniServer;
  readonly leaks: LeakWatch;
  readonly view: ClusterViewKeeper;
}

export class SimulatedAgent implements Writer {
  readonly #options: SimulatedAgentOptions;
  readonly #clock: Clock;
  #parts: Parts | undefined;
  readonly #waiting = new Set<(error: OperationError) => void>();
  #replays: Promise<void> = Promise.resolve();
  isDead = false;
  isServing = false;
  isStopping = false;

  constructor(options: SimulatedAgentOptions) {
    const { time, failed } = options;
    this.#options = options;
    this.#clock = {
      now: () => time.now(),
      setTimer: (delayMs, fire) =>
        time.setTimer(delayMs, () => {
          if (this.isDead) return;
          try {
            fire();
          } catch (error) {
            if (!this.isDead) failed(error);
          }
        }),
    };
  }

  get pool(): LoggedAddressPool | undefined {
    return this.#parts?.pool;
  }

  get link(): ClusterLink | undefined {
    return this.#parts?.link;
  }

  /** Whether it has listed what the API has. */
  get hasHeardApi(): boolean {
    return this.#parts?.view.current().source === 'api';
  }

  /** To be called before and after whatever others can see. */
  effect(): void {
    if (!this.isDead && this.#options.dies()) this.kill();
    if (this.isDead) throw new OperationError('the agent is dead', { code: AGENT_DEAD });
  }

  kill(): void {
    if (this.isDead) return;
    this.isDead = true;
    this.isServing = false;
    for (const reject of this.#waiting)
      reject(new OperationError('the shim was hung up on', { code: AGENT_DEAD }));
    this.#waiting.clear();
    void this.#parts?.link.stop(); // a watch that is not given up keeps everything in memory
    this.#options.died(this);
  }

  /** Resolves when it serves; never when it dies before. Waits while another agent of the node has the log. */
  async start(): Promise<void> {
    const { disk, kernel, settings, bootId, time, random, wiring, failed } = this.#options;
    while (disk.writer !== undefined) await this.#pause(LOCK_INTERVAL_MS);
    const bytes = disk.isUnreadable ? undefined : disk.readLog();
    const content = bytes === undefined ? undefined : wiring.decodeLog(bytes);
    const problem = disk.isUnreadable
      ? 'it cannot be read (EIO)'
      : content === undefined
        ? 'it does not exist'
        : undefined;
    const links = kernel.links(this);
    let changed = (): void => undefined;
    const pool = createAddressPool({
      log: { content, problem, storage: disk.storage(this, content?.validBytes ?? 0) },
      bootId,
      range: settings.range,
      changed: () => changed(),
      clock: () => time.now(),
      schedule: (delayMs, callback) => void this.#clock.setTimer(delayMs, callback),
    });
    await restoreAllocations({
      pool,
      found: kernelAttachments(links),
      isMissing: content === undefined && !disk.hasLog,
      log: SILENT,
    });
    const { snapshot } = disk;
    let nodeUid = snapshot?.nodeUid;
    const view = wiring.view(
      createClusterView({
        nodeName: settings.nodeName,
        range: settings.range,
        blockPrefixLength: settings.blockPrefixLength,
        clock: this.#clock,
        defer: (run) => void this.#clock.setTimer(0, run),
        onChange: () => {
          link.viewChanged();
          save();
        },
        ...(snapshot === undefined ? {} : { snapshot }),
      }),
      settings,
    );
    const writer = createSnapshotWriter({
      directory: '',
      clock: this.#clock,
      failed: () => undefined,
      write: async (_directory, taken) => {
        this.effect();
        await this.#pause(3);
        disk.snapshot = taken;
        this.effect();
      },
    });
    const takeSnapshot = (): Snapshot => ({
      nodeName: settings.nodeName,
      range: formatCidr(settings.range),
      blockPrefixLength: settings.blockPrefixLength,
      vni: settings.vni,
      ...(nodeUid === undefined ? {} : { nodeUid }),
      ...view.takeSnapshot((name) => link.claims()?.isGivenBack(name) !== true),
    });
    const save = (): void => writer.save(takeSnapshot);
    const link: ClusterLink = startClusterLink({
      settings,
      nodeIp: settings.nodeIp!, // !: the model's nodes have one
      version: '0.0.0',
      nodeUid,
      stateId: disk.stateId,
      view,
      pool,
      clock: this.#clock,
      random,
      log: SILENT,
      connect: async () => await Promise.resolve(this.#options.connect(this)),
      requested: () => undefined,
      transferred: () => undefined,
      claimed: undefined,
      saved() {
        save();
        return writer.flush();
      },
      relisted: () => undefined,
      changed() {
        nodeUid = link.identity()?.nodeUid ?? nodeUid;
        save();
      },
      replaced: (uid) => {
        nodeUid = uid;
        writer.save(() => ({ ...takeSnapshot(), resourceVersions: {} }));
        void writer.close().then(() => this.#options.ended(this));
      },
    });
    changed = () => link.poolChanged();
    const handler = createAttachments({
      pool,
      links,
      node: {
        gateway: () => {
          const first = link.blocks()[0];
          return first === undefined ? undefined : bridgeAddress(first);
        },
        mtu: () => MTU,
        blocked: () =>
          snapshot === undefined && link.serviceConflict() === 'unknown'
            ? 'the API has not been heard yet'
            : undefined,
        limited: () => undefined,
      },
      checkDescriptors: ({ netnsFd }) => decoded({ netnsInode: netnsFd }),
      undoFailed: () => undefined,
    });
    const server = createCniServer({ handler, observe: () => undefined, now: () => time.now() });
    const leaks = createLeakWatch({
      pool,
      links,
      inTurn: server.inTurn,
      log: SILENT,
      repaired: () => undefined,
    });
    this.#parts = { pool, link, writer, handler, server, leaks, view };
    await this.#look();
    if (this.isDead) return;
    this.isServing = true;
    const lookAgain = (): void =>
      void this.#clock.setTimer(LOOK_MS, () => {
        this.#look().then(lookAgain, (error: unknown) => {
          if (!this.isDead) failed(error);
        });
      });
    lookAgain();
  }

  async add(request: AddRequest): Promise<void> {
    await this.#ask(async ({ handler, server, link }) => {
      await link.settled();
      await this.#replay(server);
      await server.inTurn(request.containerId, () => handler.add(request));
    });
  }

  async del(attachment: Attachment): Promise<void> {
    await this.#ask(async ({ server }) => {
      await server.remove(attachment);
    });
  }

  /** As asked: what is under way is finished and the log let go. */
  async stop(): Promise<void> {
    if (this.#parts === undefined || this.isDead) return this.kill();
    const { link, writer, pool } = this.#parts;
    this.isServing = false;
    this.isStopping = true;
    await link.stop();
    await writer.close();
    await pool.closed();
    this.kill();
  }

  async #look(): Promise<void> {
    if (this.#parts === undefined || this.isStopping) return;
    const { server, leaks } = this.#parts;
    await this.#replay(server);
    await leaks.look();
  }

  /** As tombstones.ts: one replay at a time, and a later call looks again. */
  #replay(server: CniServer): Promise<void> {
    const replay = (): Promise<void> => this.#replayAll(server);
    this.#replays = this.#replays.then(replay, replay);
    return this.#replays;
  }

  /** A deletion that was carried out is taken off the disk. */
  async #replayAll(server: CniServer): Promise<void> {
    const { disk } = this.#options;
    for (const tombstone of disk.tombstones) {
      await server.remove(tombstone);
      this.effect();
      disk.tombstones = disk.tombstones.filter((other) => other !== tombstone);
    }
  }

  async #ask(work: (parts: Parts) => Promise<void>): Promise<void> {
    const parts = this.#parts;
    if (parts === undefined || !this.isServing)
      throw new OperationError('nobody listens', { code: AGENT_DEAD });
    await new Promise<void>((resolve, reject) => {
      this.#waiting.add(reject);
      work(parts)
        .then(resolve, reject)
        .finally(() => this.#waiting.delete(reject));
    });
  }

  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.#clock.setTimer(delayMs, resolve);
    });
  }
}

const nothing = (): void => undefined;
const SILENT: Logger = {
  trace: nothing,
  debug: nothing,
  info: nothing,
  warn: nothing,
  error: nothing,
  child: () => SILENT,
  flush: nothing,
};
