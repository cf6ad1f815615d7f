// Block claims over the simulated API and pool, with a clock that tests set.
import { type BlockClaims, createBlockClaims } from '../../agent/control/blocks/block-claims.ts';
import { parseCidr } from '../../proto/address-text.ts';
import { QUARANTINE, QUIET, SimulatedApi, SimulatedPool } from './claim-fakes.ts';

/** Of the node "a". */
export const STATE: string = 'a'.repeat(32);
export const OTHER_STATE: string = 'b'.repeat(32);

export interface Rig {
  readonly claims: BlockClaims;
  readonly api: SimulatedApi;
  readonly pool: SimulatedPool;
  readonly events: string[];
  /** Attempts to claim, as "outcome seconds". */
  readonly attempts: string[];
  readonly time: { now: number };
  /** Of the snapshot. */
  readonly disk: { writable: boolean };
  /** Steps until nothing is due at once; returns when to look again. */
  readonly settle: () => Promise<number | undefined>;
}

export function createRig(
  options: {
    range?: string;
    prepare?: (api: SimulatedApi, pool: SimulatedPool) => void;
    source?: 'snapshot' | 'api';
  } = {},
): Rig & { view: { source: 'snapshot' | 'api' } } {
  const time = { now: 1_000_000 };
  const api = new SimulatedApi(() => time.now);
  const disk = { writable: true };
  const pool = new SimulatedPool();
  options.prepare?.(api, pool);
  const events: string[] = [];
  const attempts: string[] = [];
  const view = { source: options.source ?? ('api' as const) };
  const claims = createBlockClaims({
    node: { name: 'a', uid: 'a-uid', stateId: STATE },
    range: parseCidr(options.range ?? '10.32.0.0/12'),
    blockPrefixLength: 26,
    quarantineMs: QUARANTINE,
    quietMs: QUIET,
    api,
    view: () => ({
      source: view.source,
      blocks: new Map(api.listed ?? api.objects),
      peers: api.listedPeers ?? api.peers,
      freedBlocks: api.freed,
      abandonedBlocks: api.abandoned,
      nodesWithoutBlock: api.waiting,
    }),
    pool,
    now: () => time.now,
    random: () => 0.5,
    saved: () => Promise.resolve(disk.writable),
    claimed: ({ outcome, seconds }) => void attempts.push(`${outcome} ${seconds}`),
    log: {
      debug: () => undefined,
      info: (event) => void events.push(event),
      warn: (event) => void events.push(event),
    },
  });
  const settle = async (): Promise<number | undefined> => {
    for (let count = 0; count < 50; count++) {
      const delay = await claims.step();
      if (delay !== 0) return delay;
    }
    throw new Error('does not settle');
  };
  return { claims, api, pool, events, attempts, time, disk, settle, view };
}
