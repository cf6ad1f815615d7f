// A node's kernel: boot id, host veths with their aliases, and which of them has its pod's address. An attachment is made in steps, and
// the process that makes it may die between any two.
import type { PodLinkRequest, PodLinks } from '../../agent/control/node/pod-links.ts';
import { OperationError } from '../../agent/operation-error.ts';
import { type Ipv4, mac } from '../../proto/address.ts';
import type { Chance } from './chance.ts';
import type { Writer } from './model-disk.ts';

export interface Veth {
  readonly hostInterface: string;
  /** Stands for the pod's namespace. */
  readonly netns: number;
  alias: string | undefined;
  /** Set when the pod has it: from then on it is live. */
  address: Ipv4 | undefined;
}

export interface KernelEvents {
  /** The pod of that namespace answers at the address from now on. */
  readonly configured: (veth: Veth, address: Ipv4) => void;
  /** `by`: who took the interface away. */
  readonly removed: (veth: Veth, by: 'agent' | 'runtime' | 'reboot') => void;
}

export class ModelKernel {
  readonly #events: KernelEvents;
  readonly #chance: Chance;
  readonly veths: Map<string, Veth> = new Map();
  readonly #namespaces = new Set<number>();

  constructor(events: KernelEvents, chance: Chance) {
    this.#events = events;
    this.#chance = chance;
  }

  makeNamespace(netns: number): void {
    this.#namespaces.add(netns);
  }

  /** Takes the pod's interfaces with it. */
  removeNamespace(netns: number): void {
    this.#namespaces.delete(netns);
    for (const veth of this.veths.values()) if (veth.netns === netns) this.#remove(veth, 'runtime');
  }

  reboot(): void {
    this.#namespaces.clear();
    for (const veth of this.veths.values()) this.#remove(veth, 'reboot');
  }

  /** As one process sees it. */
  links(process: Writer): PodLinks {
    const removeOne = (hostInterface: string): boolean => {
      process.effect();
      const veth = this.veths.get(hostInterface);
      if (veth !== undefined) this.#remove(veth, 'agent');
      process.effect();
      return veth !== undefined;
    };
    return {
      attach: (request) => this.#attach(request, process),
      detach: removeOne,
      detachAll: (names) => {
        for (const name of names) removeOne(name);
      },
      inspect: () => [],
      has: (hostInterface) => this.veths.has(hostInterface),
      list: () =>
        [...this.veths.values()].flatMap(({ hostInterface, alias }) =>
          alias === undefined ? [] : [{ hostInterface, alias }],
        ),
    };
  }

  #attach(request: PodLinkRequest, process: Writer): ReturnType<PodLinks['attach']> {
    const { hostInterface, netnsFd, alias, address, mtu } = request;
    process.effect();
    if (this.veths.has(hostInterface)) throw new OperationError('it exists', { code: 'EEXIST' });
    if (!this.#namespaces.has(netnsFd)) throw new OperationError('the namespace is gone', { code: 'EBADF' });
    const veth: Veth = { hostInterface, netns: netnsFd, alias: undefined, address: undefined };
    this.veths.set(hostInterface, veth);
    process.effect();
    veth.alias = alias;
    process.effect();
    if (this.#chance.happens(0.003)) {
      this.#remove(veth, 'agent');
      throw new OperationError('no memory', { code: 'ENOBUFS' });
    }
    veth.address = address;
    this.#events.configured(veth, address);
    process.effect();
    return { hostMac: mac(0x0e0000000001), podMac: mac(0x0e0000000002), mtu };
  }

  #remove(veth: Veth, by: 'agent' | 'runtime' | 'reboot'): void {
    this.veths.delete(veth.hostInterface);
    this.#events.removed(veth, by);
  }
}
