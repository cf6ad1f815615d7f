// Everything that talks to the API: configuration, reflectors, the node's identity, its Peer object and its blocks. Starts by itself and
// keeps trying; nothing here is needed by pods that already run, nor by an agent that has a snapshot.
import type { Settings } from '../../settings.ts';
import { formatCidr, formatIpv4, formatMac, type Cidr, type Ipv4 } from '../../../proto/address.ts';
import { decodeAddressBlock, decodePeer } from '../../../proto/api-decode.ts';
import { ADDRESS_BLOCKS, PEERS } from '../../../proto/api-kinds.ts';
import type { LoggedAddressPool } from '../../ipam/address-pool.ts';
import { createClusterApi, resourcePath } from '../../kube/api-client.ts';
import type { Clock } from '../../kube/clock.ts';
import type { HttpClient, HttpClientOptions } from '../../kube/http.ts';
import {
  type Reflector,
  type ReflectorEvents,
  type ReflectorState,
  startReflector,
} from '../../kube/reflector.ts';
import { createResourceSource } from '../../kube/resource-source.ts';
import { OperationError, codeOf } from '../../operation-error.ts';
import { API_RESOURCES } from '../../telemetry/api-metrics.ts';
import { type Logger, errorFields } from '../../telemetry/logger.ts';
import { startBlockClaims } from '../blocks/block-claim-loop.ts';
import { type BlockClaims, type BlockClaimsOptions, createBlockClaims } from '../blocks/block-claims.ts';
import type { ClusterViewKeeper } from './cluster-view.ts';
import { CRD_REMEDY, withRemedy } from './api-remedy.ts';
import { type Identity, identityOf } from './identity.ts';
import { RivalMachine } from './rival-machine.ts';
import { createPeerPublication } from './peer-publication.ts';
import { type NodeEvents, createNodeEvents } from './node-events.ts';
import { type ObjectWatchOptions, createObjectWatch } from './object-watch.ts';
import { type ServiceRanges, createServiceRanges, overlaps } from './service-ranges.ts';
import { startSettling } from './settling.ts';
import { LastingFailure } from '../../telemetry/told-once.ts';
import { createPersistentTask } from '../persistent-task.ts';
import { type Trouble, isLastingAnswer, troubleOf } from '../trouble.ts';

export interface ClusterLinkOptions {
  readonly settings: Settings;
  readonly nodeIp: Ipv4;
  readonly version: string;
  /** From the snapshot. */
  readonly nodeUid: string | undefined;
  /** Of this agent's state directory. */
  readonly stateId: string;
  readonly view: ClusterViewKeeper;
  readonly pool: LoggedAddressPool;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  /** Reads the configuration; asked again after a failure. */
  readonly connect: (
    options: Required<Pick<HttpClientOptions, 'observe' | 'transferred'>>,
  ) => Promise<HttpClient>;
  /** One API request was answered, or failed with that code. */
  readonly requested: (request: { verb: string; resource: string; code: string; seconds: number }) => void;
  readonly transferred: (part: { resource: string; direction: 'sent' | 'received'; bytes: number }) => void;
  /** See BlockClaimsOptions. */
  readonly claimed: BlockClaimsOptions['claimed'];
  readonly saved: BlockClaimsOptions['saved'];
  /** A watch could not go on and its objects were listed again. */
  readonly relisted: (resource: string) => void;
  /** Identity or blocks changed. */
  readonly changed: () => void;
  /** The Node object is another one than the snapshot's: control has to start anew with it. */
  readonly replaced: (nodeUid: string) => void;
}

export interface ClusterLink {
  identity(): Identity | undefined;
  /** Blocks that this node routes to its bridge, in the order of claim; fenced ones may still have pods. */
  blocks(): readonly Cidr[];
  claims(): BlockClaims | undefined;
  /** Undefined while the configuration could not be read. */
  reflectors(): { readonly peers: ReflectorState; readonly blocks: ReflectorState } | undefined;
  /** What the API refuses, for as long as it does: a person has to put it right. */
  troubles(): readonly Trouble[];
  /** Whether the addresses of Services overlap the range. */
  serviceConflict(): ReturnType<ServiceRanges['conflict']>;
  /** Of the Services, as far as the API shows them. */
  serviceRanges(): readonly string[];
  /** Events about the node, told as soon as the API can be reached. */
  readonly events: NodeEvents;
  /** Resolves when it is known whose the blocks are that this node had, or the API has been silent for a while; never rejects. */
  settled(): Promise<void>;
  viewChanged(): void;
  poolChanged(): void;
  stop(): Promise<void>;
}

const IDENTITY = 'identity';
const PUBLICATION = 'publication';
const CREDENTIALS = 'credentials';
/** What ends by itself within that time is not told to the cluster: roles take a moment to be seen everywhere. */
const SETTLE_MS = 5000;
export function startClusterLink(options: ClusterLinkOptions): ClusterLink {
  const { settings, view, pool, clock, random, log } = options;
  let identity = options.nodeUid === undefined ? undefined : identityOf(settings.nodeName, options.nodeUid);
  let claims: BlockClaims | undefined;
  let loop: ReturnType<typeof startBlockClaims> | undefined;
  let reflectors: { readonly peers: Reflector; readonly blocks: Reflector } | undefined;
  let publication: ReturnType<typeof createPeerPublication> | undefined;
  let http: HttpClient | undefined;
  let api: ReturnType<typeof createClusterApi> | undefined;
  let stopped = false;
  let saidPodCidr = false;
  let isIdentityConfirmed = false;
  /** The Node object is not there, so what it would own is collected at once. */
  let isNodeGone = false;
  const rival = new RivalMachine({ nodeName: settings.nodeName, stateId: options.stateId, clock, log });
  const settling = startSettling(clock, () => {
    claims?.believe();
    options.changed();
  });
  const settle = (): void => {
    if (claims === undefined || view.current().source === 'snapshot') return;
    claims.look(); // the view says it before viewChanged() does
    settling.asking();
    if (isIdentityConfirmed && claims.isSettled()) settling.settled();
  };
  const identityFailure = new LastingFailure();
  const credentialsFailure = new LastingFailure();
  /** What fails now, by what was tried. */
  const failing = new Map<string, Trouble>();
  const note = (what: string, error: unknown, message: string): void => {
    if (isLastingAnswer(error)) failing.set(what, troubleOf(error, message));
    else failing.delete(what);
  };

  const startClaims = (own: Identity): void => {
    claims = createBlockClaims({
      node: { name: own.nodeName, uid: own.nodeUid, stateId: options.stateId },
      range: settings.range,
      blockPrefixLength: settings.blockPrefixLength,
      quarantineMs: settings.blockQuarantineMs,
      quietMs: settings.blockQuietMs,
      api: {
        createBlock: (block) => connected().createBlock(block),
        replaceBlock: (block) => connected().replaceBlock(block),
        deleteBlock: (name, precondition) => connected().deleteBlock(name, precondition),
        getBlock: (name) => connected().getBlock(name),
        getPeer: (name) => connected().getPeer(name),
        getNode: (name) => connected().getNode(name),
      },
      view: () => view.current(),
      pool,
      now: () => clock.now(),
      random,
      log,
      claimed: options.claimed,
      saved: options.saved,
    });
    loop = startBlockClaims({ claims, clock, stepped: settle, changed: options.changed });
    settle();
  };

  // Claims write only once the view came from the API, so by then there is a client.
  const connected = (): NonNullable<typeof api> => {
    if (api === undefined) throw new Error('claims acted before the API was configured');
    return api;
  };

  const learnIdentity = async (): Promise<void> => {
    const { uid, podCidrs } = await connected().getNode(settings.nodeName);
    isNodeGone = false;
    failing.delete(IDENTITY);
    if (identityFailure.isOver()) {
      log.info('api_request_recovered', `The identity of Node "${settings.nodeName}" is known`);
    }
    tellPodCidrs(podCidrs);
    if (identity !== undefined && identity.nodeUid !== uid) {
      // Nothing more is written under the identity that is gone.
      identityTask.stop();
      publication?.stop();
      await loop?.stop();
      options.replaced(uid);
      return;
    }
    if (identity === undefined) {
      identity = identityOf(settings.nodeName, uid);
      startClaims(identity);
    }
    isIdentityConfirmed = true;
    settle();
    publication?.changed();
    options.changed();
  };

  /** Controllers give podCIDRs without anybody using them. Of a network that does, this node has addresses or routes: range-conflicts.ts. */
  const tellPodCidrs = (podCidrs: readonly string[]): void => {
    const inRange = podCidrs.filter((text) => overlaps(settings.range, text));
    if (saidPodCidr || inRange.length === 0) return;
    saidPodCidr = true;
    log.info(
      'pod_cidr_unused',
      `The podCIDR ${inRange.join(', ')} of this node overlaps the range ${formatCidr(settings.range)}: Weft does not use it; see that no other network plugin does`,
      { pod_cidr: inRange.join(' ') },
    );
  };

  const identityTask = createPersistentTask({
    run: learnIdentity,
    failed(error) {
      isNodeGone = codeOf(error) === 'NOT_FOUND';
      const message = `Cannot learn this node's identity from Node "${settings.nodeName}": ${withRemedy(error)}`;
      note(IDENTITY, error, message);
      if (identityFailure.isNews(codeOf(error))) log.warn('api_request_failed', message, errorFields(error));
    },
    clock,
    random,
  });

  const serviceRanges = createServiceRanges({
    range: settings.range,
    api: connected,
    clock,
    random,
    log,
    changed: options.changed,
  });

  const events = createNodeEvents({
    nodeName: settings.nodeName,
    // Where there is none yet, it is tried again with the rest.
    api: () =>
      api === undefined
        ? Promise.reject(
            new OperationError('Cannot reach the API: it is not configured yet', { code: 'UNAVAILABLE' }),
          )
        : Promise.resolve(api),
    settleMs: SETTLE_MS,
    clock,
    random,
    log,
  });

  const configure = async (): Promise<void> => {
    const client = await options.connect({
      observe: ({ method, path, code, seconds }) =>
        options.requested({ verb: method, resource: resourceOf(path), code, seconds }),
      transferred: ({ path, direction, bytes }) =>
        options.transferred({ resource: resourceOf(path), direction, bytes }),
    });
    if (stopped) return client.close();
    http = client;
    api = createClusterApi({ http, decodePeer, decodeAddressBlock });
    publication = createPeerPublication({
      api,
      identity: () => (isNodeGone ? undefined : identity),
      spec: {
        addresses: [formatIpv4(options.nodeIp)],
        port: settings.port,
        features: ['probe'],
        version: options.version,
        stateId: options.stateId,
        vtepMacText: ({ vtepMac }) => formatMac(vtepMac),
      },
      view: () => view.current(),
      clock,
      random,
      log,
      failed: (error, message) => note(PUBLICATION, error, message),
      done: () => failing.delete(PUBLICATION),
    });
    const snapshotVersions = view.current().resourceVersions;
    const source = (plural: string): ReturnType<typeof createResourceSource> =>
      createResourceSource({ http: http!, path: resourcePath(plural), plural }); // !: set above
    const floor = (version: string | undefined): { floor?: string } =>
      version === undefined ? {} : { floor: version };
    reflectors = {
      peers: startReflector({
        source: source(PEERS),
        decode: decodePeer,
        events: watched({ plural: PEERS, handlers: view.peers, known: () => view.current().peers }),
        clock,
        random,
        ...floor(snapshotVersions.peers),
      }),
      blocks: startReflector({
        source: source(ADDRESS_BLOCKS),
        decode: decodeAddressBlock,
        events: watched({
          plural: ADDRESS_BLOCKS,
          handlers: view.blocks,
          known: () => view.current().blocks,
        }),
        clock,
        random,
        ...floor(snapshotVersions.blocks),
      }),
    };
    identityTask.request();
    serviceRanges.start();
  };

  const configurationTask = createPersistentTask({
    run: async () => {
      await configure();
      failing.delete(CREDENTIALS);
      credentialsFailure.isOver(); // api_connected says it
    },
    failed(error) {
      const trouble = troubleOf(error);
      failing.set(CREDENTIALS, trouble);
      if (credentialsFailure.isNews(trouble.message)) {
        log.error('credentials_failed', `${trouble.message}; it is tried again`, errorFields(error));
      }
    },
    clock,
    random,
  });

  const watched = <T>(
    watch: Pick<ObjectWatchOptions<T>, 'plural' | 'handlers' | 'known'>,
  ): ReflectorEvents<T> =>
    createObjectWatch({
      ...watch,
      refused: () => stateOf(watch.plural)?.refused ?? new Map<string, string>(),
      relisted: options.relisted,
      failing,
      log,
    });

  const stateOf = (plural: typeof PEERS | typeof ADDRESS_BLOCKS): ReflectorState | undefined =>
    (plural === PEERS ? reflectors?.peers : reflectors?.blocks)?.state();

  /** One that is refused is its owner's fault, all of them are the definition's. */
  const refusedKinds = (): readonly Trouble[] =>
    ([PEERS, ADDRESS_BLOCKS] as const).flatMap((plural): Trouble[] => {
      const state = stateOf(plural);
      if (state === undefined || state.objects > 0 || state.refused.size === 0) return [];
      const message = `None of the ${plural} in the API can be used, they stay as last known: ${CRD_REMEDY}`;
      return [{ code: 'INVALID', message }];
    });

  if (identity !== undefined) startClaims(identity);
  configurationTask.request();

  return {
    identity: () => identity,
    blocks: () => claims?.state().map(({ cidr }) => cidr) ?? [],
    claims: () => claims,
    reflectors: () =>
      reflectors === undefined
        ? undefined
        : { peers: reflectors.peers.state(), blocks: reflectors.blocks.state() },
    troubles() {
      const own = [rival.trouble(), claims?.trouble()].filter((trouble) => trouble !== undefined);
      return [...failing.values(), ...refusedKinds(), ...own];
    },
    serviceConflict: () => serviceRanges.conflict(),
    serviceRanges: () => serviceRanges.known(),
    events,
    settled: () => settling.over(),
    viewChanged() {
      rival.look(view.current());
      claims?.look(); // before anything else is served: what is another node's now is given out no more
      settle();
      const own = identity && view.current().peers.get(identity.nodeName);
      // Deleted together with the Node, or for the first time: the Node may be another one now.
      if (api !== undefined && own === undefined && view.current().source === 'api') identityTask.request();
      publication?.changed();
      loop?.wake();
    },
    poolChanged() {
      loop?.wake();
    },
    async stop() {
      stopped = true;
      settling.stop();
      configurationTask.stop();
      serviceRanges.stop();
      events.stop();
      identityTask.stop();
      publication?.stop();
      reflectors?.peers.stop();
      reflectors?.blocks.stop();
      http?.close(); // a request under way ends at once
      await loop?.stop();
    },
  };
}

/** The plural in a path such as /apis/weft.dev/v1alpha1/peers/n1?limit=500: a label with few values. */
const resourceOf = (path: string): string =>
  API_RESOURCES.find((plural) => path.includes(`/${plural}`)) ?? 'other';
