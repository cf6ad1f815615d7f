// Everything that talks to the API: configuration, reflectors, the node's identity, its Peer object and its blocks. Starts by itself and
// keeps trying; nothing here is needed by pods that already run, nor by an agent that has a snapshot.
import type { Settings } from '../../settings.ts';
import { formatIpv4, formatMac, type Cidr, type Ipv4 } from '../../../proto/address.ts';
import { decodeAddressBlock, decodePeer } from '../../../proto/api-decode.ts';
import { ADDRESS_BLOCKS, PEERS } from '../../../proto/api-kinds.ts';
import type { LoggedAddressPool } from '../../ipam/address-pool.ts';
import { createClusterApi, resourcePath, userAgent } from '../../kube/api-client.ts';
import type { Clock } from '../../kube/clock.ts';
import type { ApiEndpoint } from '../../kube/api-endpoint.ts';
import { createHttpClient } from '../../kube/http.ts';
import {
  type Reflector,
  type ReflectorEvents,
  type ReflectorState,
  startReflector,
} from '../../kube/reflector.ts';
import { createResourceSource } from '../../kube/resource-source.ts';
import { type Logger, errorFields } from '../../telemetry/logger.ts';
import { startBlockClaims } from '../blocks/block-claim-loop.ts';
import { type BlockClaims, createBlockClaims } from '../blocks/block-claims.ts';
import type { ClusterViewKeeper } from './cluster-view.ts';
import { withRemedy } from './api-remedy.ts';
import { type Identity, identityOf } from './identity.ts';
import { createPeerPublication } from './peer-publication.ts';
import { createPersistentTask } from '../persistent-task.ts';

export interface ClusterLinkOptions {
  readonly settings: Settings;
  readonly nodeIp: Ipv4;
  readonly version: string;
  /** From the snapshot. */
  readonly nodeUid: string | undefined;
  readonly view: ClusterViewKeeper;
  readonly pool: LoggedAddressPool;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  /** Reads the configuration; asked again after a failure. */
  readonly endpoint: () => Promise<ApiEndpoint>;
  /** One API request was answered, or failed with that code. */
  readonly requested: (request: { verb: string; resource: string; code: string }) => void;
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
  /** The view or the pool changed. */
  wake(): void;
  stop(): Promise<void>;
}

export function startClusterLink(options: ClusterLinkOptions): ClusterLink {
  const { settings, view, pool, clock, random, log } = options;
  let identity = options.nodeUid === undefined ? undefined : identityOf(settings.nodeName, options.nodeUid);
  let claims: BlockClaims | undefined;
  let loop: ReturnType<typeof startBlockClaims> | undefined;
  let reflectors: { readonly peers: Reflector; readonly blocks: Reflector } | undefined;
  let publication: ReturnType<typeof createPeerPublication> | undefined;
  let http: ReturnType<typeof createHttpClient> | undefined;
  let api: ReturnType<typeof createClusterApi> | undefined;
  let stopped = false;

  const startClaims = (own: Identity): void => {
    claims = createBlockClaims({
      node: { name: own.nodeName, uid: own.nodeUid },
      range: settings.range,
      blockPrefixLength: settings.blockPrefixLength,
      quarantineMs: settings.blockQuarantineMs,
      quietMs: settings.blockQuietMs,
      api: {
        createBlock: (block) => connected().createBlock(block),
        deleteBlock: (name, precondition) => connected().deleteBlock(name, precondition),
      },
      view: () => view.current(),
      pool,
      now: () => clock.now(),
      random,
      log,
    });
    loop = startBlockClaims({ claims, clock, stepped: options.changed });
  };

  // Claims write only once the view came from the API, so by then there is a client.
  const connected = (): NonNullable<typeof api> => {
    if (api === undefined) throw new Error('claims acted before the API was configured');
    return api;
  };

  const learnIdentity = async (): Promise<void> => {
    const { uid } = await connected().getNode(settings.nodeName);
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
    publication?.changed();
    options.changed();
  };

  const identityTask = createPersistentTask({
    run: learnIdentity,
    failed: (error) =>
      log.warn(
        'api_request_failed',
        `Cannot learn this node's identity from Node "${settings.nodeName}": ${withRemedy(error)}`,
        errorFields(error),
      ),
    clock,
    random,
  });

  const configure = async (): Promise<void> => {
    const endpoint = await options.endpoint();
    if (stopped) return;
    http = createHttpClient({
      endpoint,
      userAgent: userAgent(options.version),
      observe: ({ method, path, code }) =>
        options.requested({ verb: method, resource: resourceOf(path), code }),
    });
    api = createClusterApi({ http, decodePeer, decodeAddressBlock });
    publication = createPeerPublication({
      api,
      identity: () => identity,
      spec: {
        addresses: [formatIpv4(options.nodeIp)],
        port: settings.port,
        features: ['probe'],
        version: options.version,
        vtepMacText: ({ vtepMac }) => formatMac(vtepMac),
      },
      view: () => view.current(),
      clock,
      random,
      log,
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
        events: watched(PEERS, view.peers),
        clock,
        random,
        ...floor(snapshotVersions.peers),
      }),
      blocks: startReflector({
        source: source(ADDRESS_BLOCKS),
        decode: decodeAddressBlock,
        events: watched(ADDRESS_BLOCKS, view.blocks),
        clock,
        random,
        ...floor(snapshotVersions.blocks),
      }),
    };
    identityTask.request();
  };

  const configurationTask = createPersistentTask({
    run: configure,
    failed: (error) =>
      log.error(
        'credentials_failed',
        error instanceof Error ? error.message : String(error),
        errorFields(error),
      ),
    clock,
    random,
  });

  /** Adds to the view's handlers what people want to read: the first failure of an outage and its end, refused objects. */
  function watched<T>(
    plural: string,
    handlers: Pick<ReflectorEvents<T>, 'synced' | 'changed'>,
  ): ReflectorEvents<T> {
    let isConnected = false;
    let isLost = false;
    return {
      synced(objects, resourceVersion) {
        handlers.synced(objects, resourceVersion);
        if (isLost) options.relisted(plural);
      },
      changed: handlers.changed,
      watching() {
        if (!isConnected) log.info('api_connected', `Following ${plural}`, { resource: plural });
        isConnected = true;
        isLost = false;
      },
      stale: (reason) => log.warn('api_relisted', reason, { resource: plural }),
      refused: ({ name, reason }) =>
        log.warn('api_object_refused', `Ignoring "${name}" of ${plural}: ${reason}; correct or delete it`, {
          resource: plural,
          name,
          reason,
        }),
      failed(error) {
        if (isLost) return;
        isLost = true;
        isConnected = false;
        log.warn(
          'api_disconnected',
          `Cannot follow ${plural}, which stay as last known: ${withRemedy(error)}`,
          errorFields(error),
        );
      },
    };
  }

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
    wake() {
      const own = identity && view.current().peers.get(identity.nodeName);
      // Deleted together with the Node, or for the first time: the Node may be another one now.
      if (api !== undefined && own === undefined && view.current().source === 'api') identityTask.request();
      publication?.changed();
      loop?.wake();
    },
    async stop() {
      stopped = true;
      configurationTask.stop();
      identityTask.stop();
      publication?.stop();
      reflectors?.peers.stop();
      reflectors?.blocks.stop();
      await loop?.stop();
      http?.close();
    },
  };
}

/** The plural in a path such as /apis/weft.dev/v1alpha1/peers/n1?limit=500: a label with few values. */
const resourceOf = (path: string): string =>
  [PEERS, ADDRESS_BLOCKS, 'nodes', 'events'].find((plural) => path.includes(`/${plural}`)) ?? 'other';
