// Tells each contradiction between the cluster's objects once, when it appears; the status pages list those that last.
import type { EventName } from '../../telemetry/event-names.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { ViewProblem } from './cluster-view.ts';

/** Blocks without a peer are left out: every join and leave has them for a moment. */
const WORDS: { readonly [Kind in ViewProblem['kind']]: readonly [EventName, remedy: string] | undefined } = {
  'same-address': [
    'peer_collision',
    'it gets no packets: give one of the two nodes another address, or delete its Peer',
  ],
  'same-mac': ['peer_collision', 'it gets no packets: delete its Peer, its agent writes it anew'],
  'address-in-range': ['peer_collision', 'it gets no packets: use an IPALLOC_RANGE that no host uses'],
  'unusable-peer': ['api_object_refused', 'it gets no packets: give the node an IPv4 address'],
  'no-slot': ['api_object_refused', 'it gets no packets: delete Peers of nodes that are gone'],
  'unusable-block': [
    'api_object_refused',
    'it is ignored: delete it, or give all nodes the same range and block size',
  ],
  'block-without-peer': undefined,
};

export interface ProblemLog {
  tell(problems: readonly ViewProblem[]): void;
}

export function createProblemLog(log: Pick<Logger, 'warn'>): ProblemLog {
  let told: ReadonlySet<string> = new Set();
  return {
    tell(problems) {
      for (const { kind, name, text } of problems) {
        const words = WORDS[kind];
        if (words === undefined || told.has(text)) continue;
        const [event, remedy] = words;
        log.warn(event, `${text}; ${remedy}`, { name, kind });
      }
      told = new Set(problems.map(({ text }) => text));
    },
  };
}
