// What block claims work with, simulated: an API server and the address pool.
import { OperationError } from '../../agent/operation-error.ts';
import { ORDER_ANNOTATION } from '../../agent/control/blocks/own-blocks.ts';
import { type Cidr, type Ipv4, cidrContains, cidrSize, ipv4 } from '../../proto/address.ts';
import type { NodeFacts } from '../../agent/kube/api-client.ts';
import type { AddressBlock, Peer } from '../../proto/api-kinds.ts';
import { peer } from './kube-fakes.ts';

export const QUARANTINE = 600_000;
export const QUIET = 600_000;

interface Given {
  /** Of the Node. */
  readonly uid?: string;
  readonly order?: number;
  readonly stateId?: string;
}

/** An API server that lets one create of a name win; views of it may lag. */
export class SimulatedApi {
  readonly objects: Map<string, AddressBlock> = new Map();
  /** What lists say while they are behind. */
  listed: ReadonlyMap<string, AddressBlock> | undefined;
  readonly freed: Map<string, number> = new Map();
  readonly abandoned: Map<string, number> = new Map();
  /** Node name → state directory of its agent, for those that have a Peer. */
  readonly peers: Map<string, string> = new Map();
  /** What lists of them say while they are behind. */
  listedPeers: ReadonlyMap<string, string> | undefined;
  readonly nodes: Set<string> = new Set();
  /** Other nodes that have no block. */
  waiting = 0;
  writes: string[] = [];
  reads: string[] = [];
  failure: string | undefined;
  readFailure: string | undefined;
  /** Fails after the write was done: the answer got lost. */
  loseAnswer = false;
  #nextUid = 1;
  #version = 0;
  readonly now: () => number;

  constructor(now: () => number) {
    this.now = now;
  }
  async createBlock(block: AddressBlock): Promise<AddressBlock> {
    const { name } = block.metadata;
    this.#write(`create ${name}`);
    if (this.objects.has(name)) throw new OperationError(`${name} exists`, { code: 'ALREADY_EXISTS' });
    const uid = `uid-${this.#nextUid++}`;
    const created = { ...block, metadata: { ...block.metadata, uid, resourceVersion: this.#nextVersion() } };
    this.objects.set(name, created);
    this.freed.delete(name);
    if (this.loseAnswer) throw new OperationError('connection reset', { code: 'UNAVAILABLE' });
    return created;
  }
  async replaceBlock(block: AddressBlock): Promise<AddressBlock> {
    const { name, resourceVersion } = block.metadata;
    this.#write(`replace ${name}`);
    const present = await this.getBlock(name);
    if (present.metadata.resourceVersion !== resourceVersion)
      throw new OperationError(`${name} has changed`, { code: 'CONFLICT' });
    const { uid = '' } = present.metadata;
    const replaced = { ...block, metadata: { ...block.metadata, uid, resourceVersion: this.#nextVersion() } };
    this.objects.set(name, replaced);
    return replaced;
  }
  async getBlock(name: string): Promise<AddressBlock> {
    this.reads.push(name);
    if (this.readFailure !== undefined)
      throw new OperationError(`api: ${this.readFailure}`, { code: this.readFailure });
    const object = this.objects.get(name);
    if (object === undefined) throw new OperationError(`${name} is gone`, { code: 'NOT_FOUND' });
    return object;
  }
  async getPeer(name: string): Promise<Peer> {
    const stateId = this.peers.get(name);
    if (stateId === undefined) throw new OperationError(`peer ${name} is gone`, { code: 'NOT_FOUND' });
    return peer(name, { stateId });
  }
  async getNode(name: string): Promise<NodeFacts> {
    if (this.nodes.has(name)) return { uid: `${name}-uid`, podCidrs: [] };
    throw new OperationError(`node ${name} is gone`, { code: 'NOT_FOUND' });
  }
  async deleteBlock(
    name: string,
    { uid, resourceVersion }: { uid?: string; resourceVersion?: string },
  ): Promise<void> {
    this.#write(`delete ${name}`);
    const { metadata } = await this.getBlock(name);
    if (metadata.uid !== uid || (resourceVersion ?? metadata.resourceVersion) !== metadata.resourceVersion)
      throw new OperationError(`${name} is another`, { code: 'CONFLICT' });
    this.remove(name);
    if (this.loseAnswer) throw new OperationError('connection reset', { code: 'UNAVAILABLE' });
  }
  remove(name: string): void {
    this.objects.delete(name);
    this.freed.set(name, this.now());
  }
  give(cidr: string, node: string, { uid = `${node}-uid`, order, stateId }: Given = {}): void {
    const name = cidr.replace('/', '-');
    const annotations = order === undefined ? {} : { annotations: { [ORDER_ANNOTATION]: String(order) } };
    this.objects.set(name, {
      apiVersion: 'weft.dev/v1alpha1',
      kind: 'AddressBlock',
      metadata: {
        name,
        uid: `uid-${this.#nextUid++}`,
        resourceVersion: this.#nextVersion(),
        ...annotations,
      },
      spec: { cidr, node, nodeUid: uid, ...(stateId === undefined ? {} : { stateId }) },
    });
  }
  #nextVersion(): string {
    return String(++this.#version);
  }
  #write(text: string): void {
    this.writes.push(text);
    if (this.failure !== undefined) throw new OperationError(`api: ${this.failure}`, { code: this.failure });
  }
}

/** Pods by address, in place of the address pool. */
export class SimulatedPool {
  blocks: readonly Cidr[] = [];
  readonly used: Set<Ipv4> = new Set();
  setBlocks(blocks: readonly Cidr[]): void {
    this.blocks = blocks;
  }
  list(): never {
    return [...this.used].map((address) => ({ address })) as never; // as: only the address is looked at
  }
  usedIn(block: Cidr): number {
    return [...this.used].filter((address) => cidrContains(block, address)).length;
  }
  usage(): { blocks: number; total: number; used: number; free: number } {
    const total = this.blocks.reduce((sum, block) => sum + cidrSize(block) - 1, 0);
    const used = this.blocks.reduce((sum, block) => sum + this.usedIn(block), 0);
    return { blocks: this.blocks.length, total, used: this.used.size, free: total - used };
  }
  fill(block: Cidr, count: number): void {
    for (let offset = 2; offset < 2 + count; offset++) this.used.add(ipv4(block.base + offset));
  }
}
