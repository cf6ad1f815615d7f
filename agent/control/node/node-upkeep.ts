// Keeps the node's network as the cluster view wants it: bridge, routes and rules first, then the forwarding table. Runs when what is wanted
// changed, when the kernel tells that somebody changed what is there, and as a sweep, so that what a person or another program took away
// comes back. Ready once it has succeeded with a gateway.
import type { Cidr, Ipv4 } from '../../../proto/address.ts';
import { ipv4 } from '../../../proto/address.ts';
import type { Clock } from '../../kube/clock.ts';
import { type Logger, errorFields } from '../../telemetry/logger.ts';
import type { ClusterView } from '../cluster/cluster-view.ts';
import { forwardingInputs } from '../cluster/forwarding-inputs.ts';
import { createProblemLog } from '../cluster/problem-log.ts';
import type { ForwardingPublisher } from './forwarding.ts';
import type { Identity } from '../cluster/identity.ts';
import { authorWords, createContest } from './contest.ts';
import type { Author, Disturbance } from './network-events.ts';
import type { NodeNetwork, NodeNetworkDesired } from './node-network.ts';
import { POD_PORT_PREFIX } from './pod-ports.ts';
import type { KnownPod } from './port-upkeep.ts';
import { BRIDGE, TUN } from './range-conflicts.ts';
import { createSweepPace } from './sweep-pace.ts';
import { createPersistentTask } from '../persistent-task.ts';
import type { Settings } from '../../settings.ts';
import { type Repair, textsOf } from '../repair.ts';
import { type Trouble, isListed, troubleOf } from '../trouble.ts';

export interface NodeUpkeepOptions {
  readonly settings: Pick<Settings, 'range' | 'blockPrefixLength' | 'vni' | 'port' | 'masquerade'>;
  readonly nodeIp: Ipv4;
  /** Of the TUN, the bridge and new pods, as the underlay is now. Throws OperationError UNDERLAY_MISSING. */
  readonly mtu: () => number;
  readonly network: NodeNetwork;
  readonly publisher: ForwardingPublisher;
  readonly identity: () => Identity | undefined;
  readonly blocks: () => readonly Cidr[];
  readonly view: () => ClusterView;
  /** Why nothing of the node may be changed, in words; undefined when it may. */
  readonly hold: () => string | undefined;
  readonly clock: Clock;
  /** See SweepPaceOptions. */
  readonly cpuTimeMs: () => number;
  readonly random: () => number;
  readonly log: Logger;
  /** Pods as the allocation log has them. */
  readonly pods: () => readonly KnownPod[];
  /** What was taken away by somebody and made again. */
  readonly repaired: (repairs: readonly Repair[]) => void;
  /** Told with each failure; it is tried again. */
  readonly failed: (message: string) => void;
  /** After each success. */
  readonly done: () => void;
}

export interface NodeUpkeep {
  /** What is wanted has changed. */
  changed(): void;
  /** What was made may have been changed by somebody. */
  disturbed(disturbance: Disturbance): void;
  /** The bridge's address as the kernel has it; undefined until the network was made. */
  gateway(): Ipv4 | undefined;
  /** Why pods cannot be attached, in words; undefined when they can. */
  blocked(): string | undefined;
  /** What it fails with, again and again, and who undoes what it does. */
  troubles(): readonly Trouble[];
  stop(): void;
}

const SWEEP_MS = 10_000;

/** The bridge's address: the first usable one of the node's first block. */
export const gatewayOf = (blocks: readonly Cidr[]): Ipv4 | undefined =>
  blocks[0] === undefined ? undefined : ipv4(blocks[0].base + 1);

const withoutPeers = (desired: NodeNetworkDesired | undefined): string =>
  JSON.stringify({ ...desired, peerAddresses: [] });

export function createNodeUpkeep(options: NodeUpkeepOptions): NodeUpkeep {
  const { settings, network, log, clock } = options;
  let gateway: Ipv4 | undefined;
  let failure: Trouble | undefined;
  let held: string | undefined;
  let inForce: NodeNetworkDesired | undefined;
  let cancelSweep: (() => void) | undefined;
  const problems = createProblemLog(log);

  const contest = createContest();
  let author: Author | undefined;
  let contested: Trouble | undefined;
  /** As far as the kernel has told. */
  let rulesUntouched = false;

  const run = async (): Promise<void> => {
    cancelSweep?.();
    held = options.hold();
    if (held !== undefined) return;
    pace.started();
    try {
      await sweep();
    } finally {
      pace.ended();
    }
    cancelSweep = clock.setTimer(SWEEP_MS, () => {
      rulesUntouched = false;
      task.request();
    });
  };

  const sweep = async (): Promise<void> => {
    const blocks = options.blocks();
    const wanted = gatewayOf(blocks);
    const view = options.view();
    const desired: NodeNetworkDesired = {
      range: settings.range,
      gateway: wanted,
      blocks,
      mtu: options.mtu(),
      tunnelPort: settings.port,
      nodeIp: options.nodeIp,
      peerAddresses: [...view.reachable.values()].map(({ address }) => address),
      masquerade: settings.masquerade,
    };
    const hints = { known: options.pods(), rulesUntouched };
    rulesUntouched = true; // by what comes from here on
    const repairs = await network.ensure(desired, hints).catch((error: unknown) => {
      rulesUntouched = false;
      throw error;
    });
    // What was wanted before already and had to be done again was taken away by somebody.
    const isRepair = JSON.stringify(desired) === JSON.stringify(inForce);
    // peer_added, peer_changed and peer_removed have said it already.
    const isPeers = repairs.length === 1 && withoutPeers(desired) === withoutPeers(inForce);
    inForce = desired;
    if (repairs.length > 0) {
      const text = textsOf(repairs).join('; ');
      if (!isRepair && isPeers) log.debug('network_made', text);
      else if (!isRepair) log.info('network_made', text);
      else {
        options.repaired(repairs);
        const message = `Somebody changed the node's network, put right: ${text}. If it goes on, find out which program does it`;
        if (contest.isOn(clock.now())) log.debug('network_repaired', message);
        else log.warn('network_repaired', message);
        if (contest.repaired(repairs.length, clock.now())) {
          contested = {
            code: 'NETWORK_CONTESTED',
            message: `A program of this node undoes what the agent puts right, again and again: ${authorWords(author)}. Tell it to leave the interfaces "${BRIDGE}", "${TUN}" and "${POD_PORT_PREFIX}…", their routes, and the nftables tables "weft" alone`,
          };
          log.warn(
            'network_contested',
            contested.message,
            author === undefined ? {} : { process: author.portId },
          );
        }
      }
    }
    gateway = wanted;
    if (contested !== undefined && !contest.isOn(clock.now())) {
      contested = undefined;
      log.info('network_contest_ended', 'Nobody has undone repairs for ten minutes');
    }
    if (failure !== undefined) log.info('network_recovered', "The node's network is as it should be again");
    failure = undefined;
    problems.tell(view.problems);
    publish(view, wanted);
    options.done();
  };

  const publish = (view: ClusterView, address: Ipv4 | undefined): void => {
    const identity = options.identity();
    if (identity === undefined) return;
    const { generation, changed } = options.publisher.publish(
      forwardingInputs(view, {
        nodeName: identity.nodeName,
        range: settings.range,
        blockPrefixLength: settings.blockPrefixLength,
        vni: settings.vni,
        vtepMac: identity.vtepMac,
        gateway: address,
      }),
    );
    if (changed) {
      log.debug('forwarding_published', `Forwarding table ${generation} has ${view.reachable.size} peers`, {
        generation,
        peers: view.reachable.size,
      });
    }
  };

  const task = createPersistentTask({
    run,
    failed: (error) => {
      const isNew = failure?.message !== troubleOf(error).message;
      failure = troubleOf(error);
      if (isNew) {
        const remedy = isListed(failure) ? '' : ': look what `weft doctor` finds on this node';
        log.error('network_failed', `${failure.message}; it is tried again${remedy}`, errorFields(error));
      }
      options.failed(failure.message);
    },
    clock,
    random: options.random,
  });

  const pace = createSweepPace({ clock, cpuTimeMs: options.cpuTimeMs, look: () => task.hurry() });

  return {
    changed: () => task.request(),
    disturbed(disturbance) {
      author = disturbance.author ?? author;
      rulesUntouched &&= !disturbance.rules;
      pace.disturbed();
    },
    gateway: () => gateway,
    blocked: () => failure?.message ?? held,
    troubles: () => [failure, contested].filter((trouble) => trouble !== undefined),
    stop() {
      task.stop();
      pace.stop();
      cancelSweep?.();
    },
  };
}
