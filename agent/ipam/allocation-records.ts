// Who has which address, as the log's entries say, in their order. Pure.
// Invariant: one attachment has at most one address, one address at most one attachment. An entry that would break it is refused with
// a reason: from our own log that is damage, and the log is rebuilt.
import type { Ipv4 } from '../../proto/address.ts';
import type { AllocateEntry, LogEntry, VoidEntry } from './log-record.ts';

/** The key of an allocation. */
export interface Attachment {
  readonly containerId: string;
  readonly interfaceName: string;
}

export interface Allocation extends Attachment {
  /** 0 = not known (taken over from the kernel). */
  readonly netnsInode: number;
  readonly address: Ipv4;
  readonly sequence: number;
  readonly hostInterface: string;
  readonly podName?: string;
  /** The CNI network's name; undefined = not known (taken over from the kernel). */
  readonly network?: string;
  /** Milliseconds since the epoch; undefined = not known (taken over from the kernel, or of an older agent). */
  readonly atMs?: number;
}

/** An address that was used and is not. */
export interface Freed {
  readonly address: Ipv4;
  /** Milliseconds since the epoch; undefined = not known. */
  readonly atMs?: number;
}

export type RecordRefusal = 'no_boot' | 'address_in_use' | 'attachment_in_use';

const keyOf = ({ containerId, interfaceName }: Attachment): string => `${containerId}\n${interfaceName}`;

export class AllocationRecords {
  #bootId: string | undefined;
  #sequence = 0;
  readonly #byAttachment = new Map<string, Allocation>();
  readonly #byAddress = new Map<Ipv4, Allocation>();
  /** Freed addresses that are not in use again, the longest freed first. */
  readonly #freed = new Map<Ipv4, Freed & { readonly sequence: number }>();

  /** The boot that the allocations belong to; undefined before the first `void` entry. */
  get bootId(): string | undefined {
    return this.#bootId;
  }

  /** The highest that any entry had. */
  get sequence(): number {
    return this.#sequence;
  }

  get size(): number {
    return this.#byAttachment.size;
  }

  find(attachment: Attachment): Allocation | undefined {
    return this.#byAttachment.get(keyOf(attachment));
  }

  at(address: Ipv4): Allocation | undefined {
    return this.#byAddress.get(address);
  }

  list(): readonly Allocation[] {
    return [...this.#byAttachment.values()];
  }

  /** Addresses that were used and are not, the longest freed first. */
  freed(): readonly Freed[] {
    return [...this.#freed.values()];
  }

  /** Takes the entry in; a reason when it contradicts what is recorded, and then nothing changes. */
  apply(entry: LogEntry): RecordRefusal | undefined {
    if (entry.kind === 'void') return this.#void(entry);
    if (this.#bootId === undefined) return 'no_boot';
    if (entry.kind === 'allocate') return this.#allocate(entry);
    this.#sequence = Math.max(this.#sequence, entry.sequence);
    const allocation = this.#byAddress.get(entry.address);
    if (allocation === undefined || allocation.sequence === entry.allocation) {
      if (allocation !== undefined) this.#byAttachment.delete(keyOf(allocation));
      this.#byAddress.delete(entry.address);
      this.#freed.delete(entry.address);
      const { address, sequence, atMs } = entry;
      this.#freed.set(address, { address, sequence, ...(atMs === undefined ? {} : { atMs }) });
    }
    return undefined; // another sequence: the address was given out again since, the release is late
  }

  /** Takes back an allocation that did not become durable; false when it was released meanwhile. */
  retract(allocation: Allocation): boolean {
    if (this.#byAddress.get(allocation.address)?.sequence !== allocation.sequence) return false; // released meanwhile
    this.#byAddress.delete(allocation.address);
    this.#byAttachment.delete(keyOf(allocation));
    return true;
  }

  /** Forgets when addresses that are not worth remembering were freed. */
  forgetFreed(isWorthless: (address: Ipv4) => boolean): void {
    for (const address of this.#freed.keys()) if (isWorthless(address)) this.#freed.delete(address);
  }

  /** Entries that give exactly this state: what a compacted log holds. */
  snapshot(): readonly LogEntry[] {
    if (this.#bootId === undefined) return [];
    const entries: LogEntry[] = [{ kind: 'void', bootId: this.#bootId, sequence: this.#sequence }];
    for (const freed of this.#freed.values()) entries.push({ kind: 'release', allocation: 0, ...freed });
    for (const allocation of this.#byAttachment.values()) entries.push({ kind: 'allocate', ...allocation });
    return entries;
  }

  #void({ bootId, sequence }: VoidEntry): undefined {
    this.#bootId = bootId;
    this.#sequence = Math.max(this.#sequence, sequence);
    this.#byAttachment.clear();
    this.#byAddress.clear();
    this.#freed.clear();
  }

  #allocate(entry: AllocateEntry): RecordRefusal | undefined {
    const { kind: _kind, ...allocation } = entry;
    if (this.#byAddress.has(allocation.address)) return 'address_in_use';
    if (this.#byAttachment.has(keyOf(allocation))) return 'attachment_in_use';
    this.#sequence = Math.max(this.#sequence, allocation.sequence);
    this.#byAttachment.set(keyOf(allocation), allocation);
    this.#byAddress.set(allocation.address, allocation);
    this.#freed.delete(allocation.address);
    return undefined;
  }
}
