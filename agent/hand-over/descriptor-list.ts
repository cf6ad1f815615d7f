// The order of the descriptors that an agent hands over: those of the first worker and the send sockets come where agents that know of one
// worker only look for them, the other workers' behind them.
//
//   TUN, receive, send…, TUN of worker 1, receive of worker 1, TUN of worker 2, …

/** A queue of the TUN and a receive socket of the group: what one data plane worker reads from. */
export interface WorkerDescriptors {
  readonly tun: number;
  readonly receive: number;
}

export interface DescriptorSet {
  /** By worker; the receive sockets are in the order in which they were bound. */
  readonly workers: readonly WorkerDescriptors[];
  readonly send: readonly number[];
}

export function toDescriptorList({ workers, send }: DescriptorSet): readonly number[] {
  const [first, ...others] = workers.map(({ tun, receive }) => [tun, receive]);
  return [...(first ?? []), ...send, ...others.flat()];
}

/** Undefined when the list is too short for so many workers. */
export function fromDescriptorList(list: readonly number[], workers: number): DescriptorSet | undefined {
  const [tun, receive] = list;
  if (tun === undefined || receive === undefined || list.length < 2 * workers) return undefined;
  const firstOther = list.length - 2 * (workers - 1);
  const others = list.slice(firstOther);
  return {
    workers: [
      { tun, receive },
      ...Array.from({ length: workers - 1 }, (_, index) => ({
        tun: others[2 * index] ?? -1,
        receive: others[2 * index + 1] ?? -1,
      })),
    ],
    send: list.slice(2, firstOther),
  };
}
