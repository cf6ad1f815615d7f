// Tells each contradiction between the cluster's objects when it appears and when it is over; the status pages list those that last.
import type { EventAt } from '../../telemetry/event-names.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { ViewProblem } from './cluster-view.ts';

/** Blocks without a peer are left out: every join and leave has them for a moment. */
const WORDS: {
  readonly [Kind in ViewProblem['kind']]: readonly [EventAt<'warn'>, remedy: string] | undefined;
} = {
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

/** With what to do; undefined where nothing is. */
export function problemWords({ kind, text }: ViewProblem): string | undefined {
  const words = WORDS[kind];
  return words && `${text}; ${words[1]}`;
}

/** Those about which something is to be done. */
export const problemsInWords = (problems: readonly ViewProblem[]): readonly string[] =>
  problems.flatMap((problem) => problemWords(problem) ?? []);

export interface ProblemLog {
  tell(problems: readonly ViewProblem[]): void;
}

export function createProblemLog(log: Pick<Logger, 'info' | 'warn'>): ProblemLog {
  let told: ReadonlyMap<string, ViewProblem> = new Map();
  return {
    tell(problems) {
      for (const { kind, name, text } of problems) {
        const words = WORDS[kind];
        if (words === undefined || told.has(text)) continue;
        const [event, remedy] = words;
        log.warn(event, `${text}; ${remedy}`, { name, kind });
      }
      const now = new Map(
        problems.filter(({ kind }) => WORDS[kind] !== undefined).map((each) => [each.text, each]),
      );
      for (const [text, { name, kind }] of told) {
        if (!now.has(text)) log.info('contradiction_ended', `No more: ${text}`, { name, kind });
      }
      told = now;
    },
  };
}
