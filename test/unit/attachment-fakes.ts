// Fakes of the ports that attachments stand on. They keep the contracts (idempotent release, everything or nothing) and fail on request.
import { type Cidr, type Ipv4, ipv4, mac } from '../../proto/address.ts';
import { encodeRequest } from '../../proto/shim-codec.ts';
import { decoded } from '../../proto/decoded.ts';
import type { NodeReadiness } from '../../agent/control/cni/attachments.ts';
import type {
  PodLink,
  PodLinkInspection,
  PodLinkRequest,
  PodLinks,
} from '../../agent/control/node/pod-links.ts';
import type {
  AddressPool,
  Allocation,
  AllocationRequest,
  Attachment,
} from '../../agent/ipam/address-pool.ts';
import type { PodDescriptors, PodDescriptorsCheck } from '../../agent/linux/pod-descriptors.ts';
import { OperationError } from '../../agent/operation-error.ts';

const key = ({ containerId, interfaceName }: Attachment): string => `${containerId}/${interfaceName}`;

/** Gives out 10.32.0.2 and so on, `size` addresses; never again the one that was just freed while others are free. */
export class FakePool implements AddressPool {
  readonly #records = new Map<string, Allocation>();
  #free: Ipv4[];
  #sequence = 0;
  blocks: number = 1;
  /** Thrown by the next allocate. */
  failure: OperationError | undefined;

  constructor(size: number = 8) {
    this.#free = Array.from({ length: size }, (_, index) => ipv4(0x0a200002 + index));
  }

  async allocate({ address: wanted, ...request }: AllocationRequest): Promise<Allocation> {
    await Promise.resolve();
    const failure = this.failure;
    this.failure = undefined;
    if (failure !== undefined) throw failure;
    if (this.#records.has(key(request))) throw new OperationError('taken', { code: 'ALREADY_ALLOCATED' });
    if (wanted !== undefined && !this.#free.includes(wanted)) {
      throw new OperationError('not free', { code: 'ADDRESS_IN_USE' });
    }
    const address = wanted ?? this.#free[0];
    this.#free = this.#free.filter((free) => free !== address);
    if (address === undefined) throw new OperationError('no address is free', { code: 'POOL_EXHAUSTED' });
    this.#sequence += 1;
    const allocation = { ...request, address, sequence: this.#sequence };
    this.#records.set(key(request), allocation);
    return allocation;
  }

  async release(attachment: Attachment): Promise<Allocation | undefined> {
    await Promise.resolve();
    const allocation = this.#records.get(key(attachment));
    if (allocation !== undefined) this.#free.push(allocation.address);
    this.#records.delete(key(attachment));
    return allocation;
  }

  find = (attachment: Attachment): Allocation | undefined => this.#records.get(key(attachment));
  list = (): readonly Allocation[] => [...this.#records.values()];
  setBlocks(blocks: readonly Cidr[]): void {
    this.blocks = blocks.length;
  }
  usage = (): { blocks: number; total: number; used: number; free: number } => ({
    blocks: this.blocks,
    total: this.#free.length + this.#records.size,
    used: this.#records.size,
    free: this.#free.length,
  });
  close(): void {}
}

export class FakeLinks implements PodLinks {
  readonly made: Map<string, PodLinkRequest> = new Map();
  /** Thrown by the next attach or detach. */
  failure: OperationError | undefined;
  differences: readonly string[] = [];

  attach(request: PodLinkRequest): PodLink {
    this.#fail();
    if (this.made.has(request.hostInterface)) throw new OperationError('exists', { code: 'EEXIST' });
    this.made.set(request.hostInterface, request);
    return { hostMac: mac(0x0e0000000001), podMac: mac(0x0e0000000002), mtu: request.mtu };
  }

  detach(hostInterface: string): boolean {
    this.#fail();
    return this.made.delete(hostInterface);
  }

  /** A failure stays for the detach that is tried next. */
  detachAll(hostInterfaces: readonly string[]): void {
    if (this.failure !== undefined) throw this.failure;
    for (const name of hostInterfaces) this.made.delete(name);
  }

  inspect(request: PodLinkInspection): readonly string[] {
    const made = this.made.get(request.hostInterface);
    if (made === undefined) return ['no link'];
    return made.mtu === request.mtu ? this.differences : [`mtu is ${made.mtu}, expected ${request.mtu}`];
  }

  /** Of those without an alias any more. */
  readonly unnamed: Set<string> = new Set();
  has = (hostInterface: string): boolean => this.made.has(hostInterface);
  list = (): readonly { hostInterface: string; alias: string }[] =>
    [...this.made.values()]
      .filter(({ hostInterface }) => !this.unnamed.has(hostInterface))
      .map(({ hostInterface, alias }) => ({ hostInterface, alias }));

  #fail(): void {
    const failure = this.failure;
    this.failure = undefined;
    if (failure !== undefined) throw failure;
  }
}

export class FakeNode implements NodeReadiness {
  address: Ipv4 | undefined = ipv4(0x0a200001);
  bytes: number = 1450;
  reason: string | undefined;
  gateway = (): Ipv4 | undefined => this.address;
  mtu = (): number => this.bytes;
  blocked = (): string | undefined => this.reason;
  limitation: string | undefined;
  limited = (): string | undefined => this.limitation;
}

/** The namespace's "inode" is its descriptor's number. */
export const trustingCheck: PodDescriptorsCheck = ({ netnsFd }: PodDescriptors) =>
  decoded({ netnsInode: netnsFd });

export const CONFIG = { cniVersion: '1.1.0', name: 'weft', type: 'weft' };

/** A shim's request about container `id`, interface eth0, with two descriptors unless told otherwise. */
export function shimRequest(
  command: string,
  {
    id = 'c1',
    config = CONFIG,
    variables = {},
    descriptors = [100, 101],
  }: {
    id?: string;
    config?: unknown;
    variables?: Record<string, string>;
    descriptors?: readonly number[];
  } = {},
): { bytes: Uint8Array; descriptors: readonly number[] } {
  const environment = {
    CNI_COMMAND: command,
    CNI_CONTAINERID: id,
    CNI_IFNAME: 'eth0',
    CNI_NETNS: `/var/run/netns/${id}`,
    CNI_PATH: '/opt/cni/bin',
    ...variables,
  };
  const stdin = new TextEncoder().encode(typeof config === 'string' ? config : JSON.stringify(config));
  const bytes = encodeRequest({
    descriptors: descriptors.length === 2 ? 2 : 0,
    environment: Object.entries(environment),
    stdin,
  });
  return { bytes, descriptors };
}
