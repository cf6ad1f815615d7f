// Where the fault tour plays: three nodes with agents and pods, in the lab or on a real cluster. What a fault does to them goes through
// this port, so that it is the same fault on both.
import type { LogLine } from '../cluster/agent-log.ts';
import type { Place } from '../lab/command.ts';
import type { NodeFault } from '../../proto/node-report.ts';

export interface StageNode {
  readonly kind: Stage['kind'];
  readonly name: string;
  readonly address: string;
  /** As root of the node: a fault is what a person or a program does there. */
  readonly place: Place;
  /** Host path of a file of the node. */
  readonly path: (file: string) => string;
  /** Of its pod. */
  readonly podAddress: string;
  /** As root in its pod. */
  readonly podPlace: () => Place;
  /** Process ids of the roles, as this program sees them; 0: none. */
  readonly pidOf: (role: 'keeper' | 'control' | 'dataplane') => number;
  /** Prometheus' text. Undefined: nobody answers. */
  readonly metrics: () => Promise<string | undefined>;
  /** All that its agents logged. */
  readonly log: () => Promise<readonly LogLine[]>;
  /** `weft doctor`, as an operator runs it. */
  readonly doctor: () => Promise<readonly NodeFault[]>;
  /** Ends the agent and starts it anew, with these settings beside the usual ones. Does not wait for it to be ready. */
  readonly restartAgent: (environment?: Readonly<Record<string, string>>) => Promise<void>;
  /** Only in the lab; resolves when both run, to what ends the second. */
  readonly startSecondAgent?: () => Promise<() => Promise<void>>;
}

export interface StageApi {
  /** host and port that agents use. */
  readonly address: string;
  readonly port: number;
  readonly read: (path: string) => Promise<unknown>;
  readonly create: (path: string, object: object) => Promise<void>;
  readonly replace: (path: string, object: object) => Promise<void>;
  readonly remove: (path: string) => Promise<void>;
  /** Agents are answered 403 until the returned function is called. */
  readonly forbid: () => Promise<() => Promise<void>>;
}

export interface Stage {
  readonly kind: 'lab' | 'cluster';
  readonly nodes: readonly [StageNode, StageNode, StageNode];
  readonly api: StageApi;
  readonly close: () => Promise<void>;
}
