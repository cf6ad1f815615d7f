// Notices that another machine has this one's node name: once this agent has published its Peer, nobody else writes a state directory's identity
// there. No address is given out twice for it, since blocks are claimed per state directory, but packets reach only one of the two.
import type { Clock } from '../../kube/clock.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { Trouble } from '../trouble.ts';
import type { ClusterView } from './cluster-view.ts';

export interface RivalMachineOptions {
  readonly nodeName: string;
  readonly stateId: string;
  readonly clock: Pick<Clock, 'now'>;
  readonly log: Pick<Logger, 'warn'>;
}

/** Both publish themselves again and again, each at least twice in that time (rewrite-pace.ts). */
const LASTING_MS = 120_000;

export class RivalMachine {
  readonly #options: RivalMachineOptions;
  #isPublished = false;
  #seen: { readonly atMs: number; readonly address: string } | undefined;

  constructor(options: RivalMachineOptions) {
    this.#options = options;
  }

  look({ peers }: Pick<ClusterView, 'peers'>): void {
    const { nodeName, stateId, clock, log } = this.#options;
    const spec = peers.get(nodeName)?.spec;
    if (spec?.stateId === stateId) this.#isPublished = true;
    if (!this.#isPublished || spec?.stateId === undefined || spec.stateId === stateId) return;
    const wasKnown = this.trouble() !== undefined;
    this.#seen = { atMs: clock.now(), address: spec.addresses[0] ?? 'an unknown address' };
    const trouble = this.trouble();
    if (!wasKnown && trouble !== undefined) log.warn('peer_collision', trouble.message);
  }

  trouble(): Trouble | undefined {
    const { nodeName, clock } = this.#options;
    if (this.#seen === undefined || clock.now() - this.#seen.atMs > LASTING_MS) return undefined;
    const message = `Another machine (${this.#seen.address}) has the node name "${nodeName}" as well, so packets reach the pods of only one of the two: give one another name`;
    return { code: 'NODE_NAME_TWICE', message };
  }
}
