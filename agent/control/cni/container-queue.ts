// Operations of one container run one after another, those of different containers side by side (CNI spec 1.1, section 3, "Lifecycle
// & Ordering": runtimes must not interleave them, but a shim that gave up and the runtime's next call can).

export class ContainerQueue {
  readonly #tails = new Map<string, Promise<unknown>>();

  /** Runs `work` once all earlier work of this container has settled. */
  async run<T>(containerId: string, work: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(containerId) ?? Promise.resolve();
    const result = before.then(work, work);
    // The tail only orders: whoever asked for the result handles its failure.
    const tail = result.then(
      () => undefined,
      () => undefined,
    );
    this.#tails.set(containerId, tail);
    try {
      return await result;
    } finally {
      if (this.#tails.get(containerId) === tail) this.#tails.delete(containerId);
    }
  }

  isBusy(containerId: string): boolean {
    return this.#tails.has(containerId);
  }
}
