// ADD, DEL, CHECK, GC and STATUS as recipes over the address pool and the pod's link. Invariant: an address is recorded before the
// kernel is touched and freed only after its link is gone; every acquisition has its undo on the next line.
import { createHash } from 'node:crypto';

import { type Ipv4, type Mac, formatIpv4 } from '../../../proto/address.ts';
import { parseIpv4, parseMac } from '../../../proto/address-text.ts';
import type { AttachmentResult, CniAttachment, PreviousResult } from '../../../proto/cni.ts';
import type { AddressPool, Allocation } from '../../ipam/address-pool.ts';
import type {
  PodDescriptors,
  PodDescriptorsCheck,
  PodDescriptorsRefusal,
} from '../../linux/pod-descriptors.ts';
import { OperationError } from '../../operation-error.ts';
import { StepClock, type StepTaken, type SteppedVerb } from '../../telemetry/cni-steps.ts';
import type { AddRequest, CheckRequest, CniHandler, StaleRequest } from './cni-server.ts';
import type { PodLinks } from '../node/pod-links.ts';
import { formatAlias } from '../node/pod-ports.ts';
import { createDetachBatch } from './detach-batch.ts';

/** What the node can offer a pod now. */
export interface NodeReadiness {
  /** The bridge's address; undefined until the node has a block. */
  gateway(): Ipv4 | undefined;
  /** MTU inside pods. */
  mtu(): number;
  /** Why ADD cannot be served, in words for the runtime's log; undefined when it can. */
  blocked(): string | undefined;
  /** Why the pods that run may not reach everything, in words; undefined when nothing is known. */
  limited(): string | undefined;
}

export interface AttachmentsOptions {
  readonly pool: AddressPool;
  readonly links: PodLinks;
  readonly node: NodeReadiness;
  readonly checkDescriptors: PodDescriptorsCheck;
  /** An undo that failed: the first error goes to the runtime, this one to the log. */
  readonly undoFailed: (attachment: CniAttachment, error: unknown) => void;
  /** Told of each step that ended or failed. */
  readonly stepped?: (taken: StepTaken) => void;
}

/** The alias of the host's interface holds it beside the other facts; the kernel takes 255 bytes. */
const MAX_CONTAINER_ID = 200;
const HOST_INTERFACE_PREFIX = 'vethwe';

/** Name of the host's end of the pair: Weave's prefix and 45 bits of a hash, so that DEL needs no record to find it. */
export function hostInterfaceOf({ containerId, interfaceName }: CniAttachment): string {
  const hash = createHash('sha256').update(`${containerId}\0${interfaceName}`).digest('hex');
  const digits = BigInt(`0x${hash.slice(0, 16)}`).toString(32);
  return `${HOST_INTERFACE_PREFIX}${digits.padStart(13, '0').slice(-9)}`;
}

const NOT_A_POD: { readonly [Reason in PodDescriptorsRefusal]: string } = {
  'not-a-network-namespace': 'CNI_NETNS is not a network namespace',
  'own-network-namespace': "CNI_NETNS is the node's own network namespace: pods with hostNetwork need no CNI",
  'not-a-netlink-socket': 'the shim passed something else than a netlink socket',
  'socket-of-another-namespace': "the shim's netlink socket belongs to another namespace than CNI_NETNS",
};

export function createAttachments({
  pool,
  links,
  node,
  checkDescriptors,
  undoFailed,
  stepped = () => undefined,
}: AttachmentsOptions): CniHandler {
  const detaching = createDetachBatch(links);

  /** `work` enters the further steps; what it throws is the failure of the step that it is in. */
  const inSteps = async <T>(
    [verb, first]: readonly [SteppedVerb, StepTaken['step']],
    work: (steps: StepClock) => T | Promise<T>,
  ): Promise<T> => {
    const steps = new StepClock({ verb, observe: stepped, now: () => performance.now() }, first);
    try {
      const result = await work(steps);
      steps.end();
      return result;
    } catch (error) {
      steps.fail();
      throw error;
    }
  };

  const inodeOf = (descriptors: PodDescriptors): number => {
    const checked = checkDescriptors(descriptors);
    if (checked.ok) return checked.value.netnsInode;
    throw new OperationError(`Cannot attach the pod: ${NOT_A_POD[checked.reason]}`, {
      code: 'NOT_A_POD_NAMESPACE',
      context: { reason: checked.reason },
    });
  };

  const noGateway = (): string => (pool.usage().blocks === 0 ? NO_BLOCK : NO_NETWORK);

  const gateway = (): Ipv4 => {
    const address = node.gateway();
    const reason = node.blocked();
    if (reason === undefined && address !== undefined) return address;
    throw new OperationError(`Cannot attach the pod yet: ${reason ?? noGateway()}`, { code: 'NOT_READY' });
  };

  const add = (request: AddRequest): Promise<AttachmentResult> =>
    inSteps(['ADD', 'check'], (steps) => addInSteps(request, steps));

  const addInSteps = async (request: AddRequest, steps: StepClock): Promise<AttachmentResult> => {
    const attachment: CniAttachment = {
      containerId: request.containerId,
      interfaceName: request.interfaceName,
    };
    refuseLongId(attachment);
    refuseSecondAdd(pool.find(attachment));
    const netnsInode = inodeOf(request.descriptors);
    const undo: (() => unknown)[] = [];
    try {
      const hostInterface = hostInterfaceOf(attachment);
      const podName = request.podName === undefined ? {} : { podName: request.podName };
      const network = { gateway: gateway(), mtu: node.mtu() };
      const { mac } = request.requested;
      steps.enter('allocate');
      const { address } = await pool.allocate({
        ...attachment,
        netnsInode,
        hostInterface,
        ...podName,
        network: request.network,
        ...(request.requested.address === undefined ? {} : { address: request.requested.address }),
      });
      undo.push(() => pool.release(attachment));
      steps.enter('link');
      const link = links.attach({
        ...request.descriptors,
        ...network,
        hostInterface,
        podInterface: request.interfaceName,
        address,
        alias: formatAlias({ ...attachment, address, mac }),
        entered: (step) => steps.enter(step),
      });
      return {
        host: { name: hostInterface, mac: link.hostMac },
        pod: { name: request.interfaceName, mac: link.podMac, sandbox: request.netns },
        mtu: link.mtu,
        address,
        gateway: network.gateway,
        routeTable: link.routeTable,
      };
    } catch (error) {
      await unwind(undo, (failure) => undoFailed(attachment, failure));
      throw error;
    }
  };

  const del = (attachment: CniAttachment): Promise<Allocation | undefined> =>
    inSteps(['DEL', 'detach'], async (steps) => {
      const { containerId, interfaceName } = attachment;
      const allocation = pool.find({ containerId, interfaceName });
      // Without a record too: the veth of an ADD that was cut off may be there.
      await detaching.detach(allocation?.hostInterface ?? hostInterfaceOf(attachment));
      steps.enter('release');
      await pool.release({ containerId, interfaceName });
      return allocation;
    });

  const check = (request: CheckRequest): Promise<readonly string[]> =>
    inSteps(['CHECK', 'inspect'], () => inspect(request));

  const inspect = (request: CheckRequest): readonly string[] => {
    const { containerId, interfaceName, previousResult } = request;
    const allocation = pool.find({ containerId, interfaceName });
    if (allocation === undefined) {
      throw new OperationError(
        `Cannot check interface "${interfaceName}" of container "${containerId}": it was never added, or was deleted`,
        { code: 'UNKNOWN_ATTACHMENT', context: { containerId, interfaceName } },
      );
    }
    const netnsInode = inodeOf(request.descriptors);
    const recorded = compareWithRecord({ allocation, netnsInode, previousResult });
    const onLink = gatewayAtAdd(allocation.address, previousResult) ?? gateway();
    const podEnd = podInterfaceOf(interfaceName, previousResult);
    const hostEnd = previousResult.interfaces.find(({ name }) => name === allocation.hostInterface);
    const inspected = links.inspect({
      ...request.descriptors,
      hostInterface: allocation.hostInterface,
      podInterface: interfaceName,
      address: allocation.address,
      gateway: onLink,
      mtu: podEnd?.mtu ?? node.mtu(),
      hostMtu: hostEnd?.mtu,
      podMac: macOf(podEnd),
      hostMac: macOf(hostEnd),
      routeTable: routeTableAtAdd(onLink, previousResult),
    });
    return [...recorded, ...inspected];
  };

  // What was taken over from the kernel is of an unknown network, so of no list: the leak watch sees when it ends.
  const stale = ({ network, valid }: StaleRequest): readonly CniAttachment[] => {
    const key = ({ containerId, interfaceName }: CniAttachment): string => `${containerId}\0${interfaceName}`;
    const keep = new Set(valid.map(key));
    return pool.list().filter((allocation) => allocation.network === network && !keep.has(key(allocation)));
  };

  // A full pool is not a reason: a runtime that hears 50 calls the whole node not ready, and its running pods are evicted.
  const blocked = (): string | undefined =>
    node.blocked() ??
    (node.gateway() === undefined || pool.usage().blocks === 0
      ? `Cannot attach pods: ${noGateway()}`
      : undefined);

  return { add, del, check, stale, blocked, limited: () => node.limited() };
}

const NO_BLOCK =
  'this node has no block of pod addresses yet: check that the Kubernetes API is reachable from it';
const NO_NETWORK = "the node's network is being made; try again";

function refuseLongId({ containerId }: CniAttachment): void {
  if (containerId.length <= MAX_CONTAINER_ID) return;
  throw new OperationError(
    `Cannot attach a container whose CNI_CONTAINERID has ${containerId.length} characters: use at most ${MAX_CONTAINER_ID}`,
    { code: 'CONTAINER_ID_TOO_LONG' },
  );
}

function refuseSecondAdd(allocation: Allocation | undefined): void {
  if (allocation === undefined) return;
  const { containerId, interfaceName, address } = allocation;
  throw new OperationError(
    `Cannot attach container "${containerId}" again: CNI_IFNAME "${interfaceName}" is in use with ${formatIpv4(address)}: DEL it first`,
    { code: 'ALREADY_ATTACHED', context: { containerId, interfaceName } },
  );
}

async function unwind(undo: readonly (() => unknown)[], report: (error: unknown) => void): Promise<void> {
  for (const step of undo.toReversed()) {
    try {
      await step();
    } catch (error) {
      report(error);
    }
  }
}

function compareWithRecord({
  allocation,
  netnsInode,
  previousResult,
}: {
  readonly allocation: Allocation;
  readonly netnsInode: number;
  readonly previousResult: PreviousResult;
}): readonly string[] {
  const differences: string[] = [];
  // 0: taken over from the kernel, which does not tell.
  if (allocation.netnsInode !== 0 && allocation.netnsInode !== netnsInode) {
    differences.push(`the network namespace is ${netnsInode}, ADD was done in ${allocation.netnsInode}`);
  }
  const address = `${formatIpv4(allocation.address)}/32`;
  const addresses = previousResult.ips.map((ip) => ip.address);
  if (!addresses.includes(address)) {
    differences.push(`the record has address ${address}, prevResult has ${addresses.join(', ') || 'none'}`);
  }
  if (!previousResult.interfaces.some(({ name }) => name === allocation.interfaceName)) {
    differences.push(`prevResult has no interface "${allocation.interfaceName}"`);
  }
  return differences;
}

type PreviousInterface = PreviousResult['interfaces'][number];

/** From 1.1.0 on it tells the MTU, which stays right for this pod when the node's setting changes. */
const podInterfaceOf = (
  interfaceName: string,
  { interfaces }: PreviousResult,
): PreviousInterface | undefined =>
  interfaces.find(({ name, sandbox }) => name === interfaceName && sandbox !== undefined);

/** What is no MAC address is compared with nothing. */
const macOf = (entry: PreviousInterface | undefined): Mac | undefined => parsedBy(parseMac, entry?.mac);

function parsedBy<T>(parse: (text: string) => T, text: string | undefined): T | undefined {
  try {
    return text === undefined ? undefined : parse(text);
  } catch {
    return undefined;
  }
}

/** A pod keeps its gateway when the node's moves to another block. */
const gatewayAtAdd = (address: Ipv4, { ips }: PreviousResult): Ipv4 | undefined =>
  parsedBy(parseIpv4, ips.find((ip) => ip.address === `${formatIpv4(address)}/32`)?.gateway);

const MAIN_TABLE = 254;

/** Undefined when the result has no default route of ours: another plugin of the chain took it away, or it could not be told. */
function routeTableAtAdd(gateway: Ipv4, { routes }: PreviousResult): number | undefined {
  const ours = routes.find(
    ({ dst, gw }) => dst === '0.0.0.0/0' && (gw === undefined || gw === '' || gw === formatIpv4(gateway)),
  );
  return ours === undefined ? undefined : (ours.table ?? MAIN_TABLE);
}
