// Messages between a test and the observer of a node (observer.ts), and what the observer sees.

/** How far something is to get before a kill. `now`: not at all. */
export interface Point {
  /**
   * `log`: writes to the allocation log. `link`: changes of an interface that the kernel tells. `sent`: requests that were sent to the
   * agent. `answered`: requests that ended.
   */
  readonly kind: 'log' | 'link' | 'sent' | 'answered' | 'now';
  readonly count: number;
  /** Waited after it; microseconds. */
  readonly delayUs: number;
}

export interface KillOrder {
  /** Process ids; `shim`: one of the plugins that run then. */
  readonly victims: readonly number[] | 'shim';
  readonly point: Point;
  /** The kill comes then at the latest. */
  readonly boundMs: number;
}

export interface KillReport {
  /** Empty where no plugin ran. */
  readonly victims: readonly number[];
  readonly reached: boolean;
  /** Of the machine's monotonic clock. */
  readonly atUs: number;
  /** When all victims were gone, and before anything took their place. */
  readonly view: NodeView;
}

/** A pod's network namespace, as the kernel has it. */
export interface NamespaceView {
  readonly netns: string;
  /** Without loopback. */
  readonly interfaces: readonly { readonly name: string; readonly mac: string; readonly up: boolean }[];
  /** Without loopback's. */
  readonly addresses: readonly string[];
  readonly hasDefaultRoute: boolean;
}

export interface NodeView {
  /** Allocations that the log holds. */
  readonly records: readonly { readonly containerId: string; readonly address: string }[];
  /** Hosts' ends of pods' links. */
  readonly ports: readonly { readonly name: string; readonly hasAlias: boolean; readonly up: boolean }[];
  /** Names of interfaces with an anti-spoof element. */
  readonly elements: readonly string[];
  readonly namespaces: readonly NamespaceView[];
}

export type Note =
  | { readonly note: 'sent'; readonly pid: number }
  | { readonly note: 'answered'; readonly pid: number };

export type Question =
  | { readonly ask: 'kill'; readonly order: KillOrder }
  | { readonly ask: 'view' }
  | { readonly ask: 'look'; readonly netns: string };

export type ObserverRequest = Note | (Question & { readonly id: number });

export type ObserverReply =
  | { readonly ready: true }
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: string };

/** Microseconds of the machine's monotonic clock: the same in every process. */
export const nowUs = (): number => Number(process.hrtime.bigint() / 1000n);
