// The files of the data plane's workers under the run directory. The first worker's have the names that they had when there was one only,
// so that an agent of such a version goes on with them.
import { STATS_FILE } from './dataplane-stats.ts';

/** Data plane processes that work at once on a node. */
export const MOST_WORKERS = 8;

export const IN_FLIGHT_FILE = 'dataplane.in-flight';

/** Packets that the worker has taken and not handed on. */
export const inFlightFileOf = (worker: number): string => named(IN_FLIGHT_FILE, worker);

/** The worker's counters (dataplane-stats.ts). */
export const statsFileOf = (worker: number): string => named(STATS_FILE, worker);

const named = (file: string, worker: number): string => (worker === 0 ? file : `${file}.${worker}`);
