// Keeps this node's Peer object in the API as it should be: created on join, replaced when something of it changed, never otherwise.
// It acts on what the watch shows, so a write that was lost is seen as missing and done again.
import { type Peer, type PeerSpec, API_GROUP_VERSION } from '../../../proto/api-kinds.ts';
import type { ClusterApi } from '../../kube/api-client.ts';
import type { Clock } from '../../kube/clock.ts';
import { codeOf } from '../../operation-error.ts';
import { type Logger, errorFields } from '../../telemetry/logger.ts';
import type { ClusterView } from './cluster-view.ts';
import { withRemedy } from './api-remedy.ts';
import { type Identity, ownedByNode } from './identity.ts';
import { LastingFailure } from '../../telemetry/told-once.ts';
import { createPersistentTask } from '../persistent-task.ts';
import { RewritePace } from '../rewrite-pace.ts';

export interface PeerPublicationOptions {
  readonly api: Pick<ClusterApi, 'createPeer' | 'replacePeer' | 'getPeer'>;
  readonly identity: () => Identity | undefined;
  /** The rest of the specification; identity adds UID and MAC. */
  readonly spec: Omit<PeerSpec, 'nodeUid' | 'vtepMac'> & {
    readonly vtepMacText: (identity: Identity) => string;
  };
  readonly view: () => ClusterView;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  /** It is tried again. */
  readonly failed: (error: unknown, message: string) => void;
  /** The object is as it should be, as far as the API says. */
  readonly done: () => void;
}

export interface PeerPublication {
  /** To be called when the view or the identity changed. */
  changed(): void;
  stop(): void;
}

/** What was written and is not in the view after so long is not there: it was deleted before the view saw it. */
const VIEW_LAG_MS = 30_000;
/** So many writes in a row that did not last are no accident. */
const CONTESTED = 2;

export function createPeerPublication(options: PeerPublicationOptions): PeerPublication {
  const { api, log, clock } = options;
  const pace = new RewritePace();
  const failing = new LastingFailure();
  /** What was written last and has not come back by the watch yet. */
  let written: Peer | undefined;
  let writtenAtMs = 0;
  let cancelTimer: (() => void) | undefined;

  const lookAgain = (delayMs: number): void => {
    cancelTimer?.();
    cancelTimer = clock.setTimer(delayMs, () => task.request());
  };

  const desired = (identity: Identity): Peer => {
    const { vtepMacText, ...rest } = options.spec;
    return {
      apiVersion: API_GROUP_VERSION,
      kind: 'Peer',
      metadata: { name: identity.nodeName, ownerReferences: [ownedByNode(identity)] },
      spec: { nodeUid: identity.nodeUid, vtepMac: vtepMacText(identity), ...rest },
    };
  };

  const publish = async (): Promise<void> => {
    const identity = options.identity();
    const view = options.view();
    if (identity === undefined || view.source !== 'api') return;
    const wanted = desired(identity);
    const seen = view.peers.get(identity.nodeName);
    if (seen !== undefined && sameObject(seen, wanted)) {
      written = undefined;
      return;
    }
    const now = clock.now();
    if (written !== undefined && sameObject(written, wanted) && seen === undefined) {
      const lagMs = writtenAtMs + VIEW_LAG_MS - now;
      if (lagMs > 0) return lookAgain(lagMs); // the watch is about to show it
    }
    const pauseMs = pace.remaining(now);
    if (pauseMs > 0) return lookAgain(pauseMs);
    written = await write(wanted, seen);
    writtenAtMs = clock.now();
    tell(written, pace.wrote(writtenAtMs));
    lookAgain(VIEW_LAG_MS);
  };

  const write = async (wanted: Peer, seen: Peer | undefined): Promise<Peer> => {
    try {
      return seen === undefined
        ? await api.createPeer(wanted)
        : await api.replacePeer(withVersion(wanted, seen));
    } catch (error) {
      const code = codeOf(error);
      if (code !== 'ALREADY_EXISTS' && code !== 'CONFLICT') throw error;
      // An object that the watch has not shown yet, of an earlier start or of the node's earlier life.
      return await api.replacePeer(withVersion(wanted, await api.getPeer(wanted.metadata.name)));
    }
  };

  const tell = ({ metadata: { name }, spec }: Peer, inRow: number): void => {
    const fields = { vtep_mac: spec.vtepMac, address: spec.addresses[0] };
    if (inRow < CONTESTED) log.info('peer_published', `Published this node as peer "${name}"`, fields);
    else if (inRow === CONTESTED) {
      log.warn(
        'peer_published',
        `Published this node as peer "${name}" again: somebody keeps deleting or changing it, and this goes on without being told again. Check that Node "${name}" exists and that no other agent runs with HOSTNAME="${name}"`,
        fields,
      );
    }
  };

  const task = createPersistentTask({
    async run() {
      await publish();
      options.done();
      if (failing.isOver()) log.info('api_request_recovered', `This node's Peer is as it should be again`);
    },
    failed(error) {
      const message = `The other nodes cannot send to this node's pods: ${withRemedy(error)}`;
      options.failed(error, message);
      if (failing.isNews(codeOf(error))) log.warn('api_request_failed', message, errorFields(error));
    },
    clock,
    random: options.random,
  });

  return {
    changed() {
      const identity = options.identity();
      const seen = identity && options.view().peers.get(identity.nodeName);
      // What we wrote was seen, so its absence from now on is a deletion.
      if (written !== undefined && seen?.metadata.resourceVersion === written.metadata.resourceVersion) {
        written = undefined;
      }
      task.request();
    },
    stop() {
      task.stop();
      cancelTimer?.();
    },
  };
}

const withVersion = (wanted: Peer, { metadata }: Peer): Peer => ({
  ...wanted,
  metadata: {
    ...wanted.metadata,
    ...(metadata.resourceVersion === undefined ? {} : { resourceVersion: metadata.resourceVersion }),
  },
});

const sameObject = (a: Peer, b: Peer): boolean => canonical(a) === canonical(b);

const canonical = ({ spec, metadata }: Peer): string =>
  JSON.stringify([
    spec.nodeUid,
    spec.addresses,
    spec.port,
    spec.vtepMac,
    spec.features,
    spec.version,
    spec.stateId ?? null,
    spec.publicKey ?? null,
    metadata.ownerReferences?.map(({ uid }) => uid) ?? [],
  ]);
