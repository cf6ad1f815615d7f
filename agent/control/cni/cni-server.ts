// Answers the shim's requests: decodes, checks, dispatches to the handler, words the result or the error. Knows CNI, not networks.
// Invariant: every request gets one answer, whatever it holds; only our own bugs reject. CNI spec 1.1.0, sections 2 and 5.
import {
  CNI_CODE,
  type AttachmentResult,
  type CniAttachment,
  type CniCommand,
  type CniError,
  NEWEST_CNI_VERSION,
  type NetworkConfig,
  type PreviousResult,
  configError,
  decodeNetworkConfig,
  formatResult,
  formatVersions,
  versionHasCommand,
} from '../../../proto/cni.ts';
import { type CniInvocation, decodeEnvironment, environmentError } from '../../../proto/cni-environment.ts';
import { chainResult } from '../../../proto/cni-chain.ts';
import { type RequestedIdentity, decodeRequested } from '../../../proto/cni-requested.ts';
import { type Decoded, decoded, refused } from '../../../proto/decoded.ts';
import { NETLINK_DESCRIPTOR, NETNS_DESCRIPTOR, decodeRequest } from '../../../proto/shim-codec.ts';
import type { PodDescriptors } from '../../linux/pod-descriptors.ts';
import {
  type AttachmentFacts,
  type Done,
  done,
  encodeAnswer,
  failed,
  failedBy,
  parseJson,
  refusedSize,
  unreadable,
  versionOf,
} from './cni-answer.ts';
import type { SteppedVerb } from '../../telemetry/cni-steps.ts';
import { ContainerQueue } from './container-queue.ts';

export interface AddRequest extends CniAttachment {
  /** Path of the namespace as the runtime knows it; for the result only, never opened. */
  readonly netns: string;
  readonly descriptors: PodDescriptors;
  /** namespace/name, where the runtime told. */
  readonly podName: string | undefined;
  /** The network's name. */
  readonly network: string;
  readonly requested: RequestedIdentity;
}

/** GC: what is to stay of a network. */
export interface StaleRequest {
  readonly network: string;
  readonly valid: readonly CniAttachment[];
}

export interface CheckRequest extends CniAttachment {
  readonly descriptors: PodDescriptors;
  readonly previousResult: PreviousResult;
}

/** The recipes. Failures are OperationErrors; cni-answer.ts maps their codes. */
export interface CniHandler {
  add(request: AddRequest): Promise<AttachmentResult>;
  /** Idempotent; succeeds for an unknown attachment, and resolves to undefined then. */
  del(attachment: CniAttachment): Promise<AttachmentFacts | undefined>;
  /** What differs from the record and the previous result, in words. */
  check(request: CheckRequest): Promise<readonly string[]>;
  /** Known attachments of the network that are not among `valid`. */
  stale(request: StaleRequest): readonly CniAttachment[];
  /** Why an ADD could not be served now; undefined when it could. */
  blocked(): string | undefined;
  /** Why running pods may not reach everything; undefined when nothing is known. */
  limited(): string | undefined;
}

/** One answered request, for log and metrics. */
export interface CniOutcome {
  readonly command: CniCommand | 'unknown';
  readonly containerId?: string;
  readonly interfaceName?: string;
  readonly podName?: string;
  /** What ADD made, or DEL removed; undefined: there was nothing. */
  readonly attachment?: AttachmentFacts;
  /** undefined = success. */
  readonly error?: CniError;
}

export interface CniMessage {
  readonly bytes: Uint8Array;
  readonly descriptors: readonly number[];
}

export interface CniServer {
  /** Takes one whole request; resolves to the encoded reply. The descriptors stay the caller's. */
  readonly answer: (message: CniMessage) => Promise<Uint8Array>;
  /** As `answer`, for a request that was left on disk: goes ahead of the runtime's own, which may be waiting for it (`beforeAdd`). */
  readonly replay: (message: { readonly bytes: Uint8Array }) => Promise<Uint8Array>;
  /** The reply to a request that could not even be read. */
  readonly refuse: (reason: string) => Uint8Array;
  /** DEL for an attachment that nobody asked about any more, in its container's turn. */
  readonly remove: (attachment: CniAttachment) => Promise<unknown>;
  /** Runs it while no request changes anything of the container. */
  readonly inTurn: <T>(containerId: string, work: () => Promise<T>) => Promise<T>;
}

export interface CniServerOptions {
  readonly handler: CniHandler;
  /** `seconds`: from the whole request to the reply. */
  readonly observe: (outcome: CniOutcome, seconds: number) => void;
  /** How long a request waited until the handler had it. */
  readonly waited?: (verb: SteppedVerb, seconds: number) => void;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
  /** Done before each ADD: deletions that were left on disk, for runtimes that use an id again. Must not reject. */
  readonly beforeAdd?: () => Promise<void>;
}

export function createCniServer({
  handler,
  observe: report,
  waited = () => undefined,
  beforeAdd,
  now = () => performance.now(),
}: CniServerOptions): CniServer {
  // The runtime's requests keep their order of arrival in `arrivals`; whatever changes an attachment takes its turn in `queue`.
  const arrivals = new ContainerQueue();
  const queue = new ContainerQueue();

  const inTurnOf = <T>(
    { verb, startedAt }: { readonly verb: SteppedVerb; readonly startedAt: number },
    containerId: string,
    work: () => Promise<T>,
  ): Promise<T> =>
    queue.run(containerId, () => {
      waited(verb, (now() - startedAt) / 1000);
      return work();
    });

  const add = async (request: AddRequest, { config, startedAt }: Understood): Promise<Done> => {
    const tooLarge = refusedSize(config);
    if (tooLarge !== undefined) return tooLarge;
    await beforeAdd?.();
    const result = await inTurnOf({ verb: 'ADD', startedAt }, request.containerId, () =>
      handler.add(request),
    );
    const own = formatResult(config.cniVersion, result, config.dns);
    return done(chainResult(config.fields['prevResult'], own), {
      address: result.address,
      hostInterface: result.host.name,
    });
  };

  const check = async (request: CheckRequest, startedAt: number): Promise<Done> => {
    const differences = await inTurnOf({ verb: 'CHECK', startedAt }, request.containerId, () =>
      handler.check(request),
    );
    if (differences.length === 0) return done();
    return failed({
      code: CNI_CODE.attachmentDiffers,
      msg: `The network of interface "${request.interfaceName}" is not as ADD made it: delete the pod to have it made again`,
      details: differences.join('; '),
    });
  };

  const remove = (attachment: CniAttachment, startedAt = now()): Promise<AttachmentFacts | undefined> =>
    inTurnOf({ verb: 'DEL', startedAt }, attachment.containerId, () => handler.del(attachment));

  // All removals are queued in the same turn as the list is made: an ADD that comes later waits behind them. A container that has an
  // operation under way is no garbage, whatever the list says.
  const collectGarbage = async (request: StaleRequest): Promise<Done> => {
    const stale = handler
      .stale(request)
      .filter(({ containerId }) => !arrivals.isBusy(containerId) && !queue.isBusy(containerId));
    const results = await Promise.allSettled(stale.map((attachment) => remove(attachment)));
    const failures = results.flatMap((result) =>
      result.status === 'rejected' ? [failedBy(result.reason).error] : [],
    );
    if (failures.length === 0) return done();
    return failed({
      code: CNI_CODE.ioFailure,
      msg: `Cannot remove ${failures.length} of ${stale.length} stale attachments: they are tried again with the next GC`,
      details: failures.map(({ msg }) => msg).join('; '),
    });
  };

  const status = (): Done => {
    const limited = handler.limited();
    if (limited !== undefined) return failed({ code: CNI_CODE.limitedConnectivity, msg: limited });
    const reason = handler.blocked();
    return reason === undefined ? done() : failed({ code: CNI_CODE.notAvailable, msg: reason });
  };

  const dispatch = async (request: Understood): Promise<Done> => {
    const { invocation, config } = request;
    switch (invocation.command) {
      case 'ADD': {
        const requested = decodeRequested(config.fields, invocation.args);
        if (!requested.ok) return failed(requested.error);
        const wanted = { network: config.name, requested: requested.value };
        return await add({ ...invocation, ...request.pod, ...wanted, podName: podName(invocation) }, request);
      }
      case 'CHECK':
        if (config.previousResult === undefined) {
          return failed({
            code: CNI_CODE.invalidConfig,
            msg: 'The network configuration has no "prevResult": CHECK requires the result of ADD',
          });
        }
        return await check(
          { ...invocation, ...request.pod, previousResult: config.previousResult },
          request.startedAt,
        );
      case 'GC':
        // Required, but cnitool gives none: then nothing is known to be stale. It is not an empty list, which would cost every pod its network.
        if (config.validAttachments === undefined) return done();
        return await collectGarbage({ network: config.name, valid: config.validAttachments });
      case 'STATUS':
        return status();
      case 'DEL':
      case 'VERSION':
        return done(); // answered before: they need no valid configuration
      default:
        return invocation satisfies never;
    }
  };

  const perform = async (request: Received): Promise<Done> => {
    const { invocation, json } = request;
    // DEL must succeed with whatever configuration the runtime still has.
    if (invocation.command === 'DEL') {
      return done(undefined, await remove(invocation, request.startedAt));
    }
    if (invocation.command === 'VERSION') return done(formatVersions(versionOf(json)));
    const config = decodeNetworkConfig(json);
    if (!config.ok) return failed(configError(config.reason));
    if (!versionHasCommand(config.value.cniVersion, invocation.command)) {
      return failed({
        code: CNI_CODE.incompatibleVersion,
        msg: `cniVersion ${config.value.cniVersion} has no ${invocation.command}: use a newer version in the network configuration`,
      });
    }
    const pod = podDescriptors(invocation, request.descriptors);
    if (!pod.ok) return failed({ code: CNI_CODE.ioFailure, msg: pod.reason });
    const { startedAt } = request;
    return await dispatch({ invocation, config: config.value, pod: pod.value, startedAt });
  };

  const respond = async (message: CniMessage, order: Order): Promise<Uint8Array> => {
    const startedAt = now();
    const observe = (answered: CniOutcome): void => report(answered, (now() - startedAt) / 1000);
    const request = decodeRequest(message.bytes);
    if (!request.ok) return answerUnreadable(request.reason, observe);
    const json = parseJson(request.value.stdin);
    const invocation = decodeEnvironment(request.value.environment);
    if (!invocation.ok) {
      const error = environmentError(invocation.reason);
      observe({ command: 'unknown', error });
      return encodeAnswer(versionOf(json), failed(error));
    }
    const received = { invocation: invocation.value, json, descriptors: message.descriptors, startedAt };
    const answer = await order(invocation.value, () => perform(received)).catch(failedBy);
    observe(outcome(invocation.value, answer));
    return encodeAnswer(versionOf(json), answer);
  };

  const inOrder: Order = (invocation, work) =>
    'containerId' in invocation ? arrivals.run(invocation.containerId, work) : work();

  return {
    answer: (message) => respond(message, inOrder),
    replay: ({ bytes }) => respond({ bytes, descriptors: [] }, (_invocation, work) => work()),
    refuse: (reason) => answerUnreadable(reason, (answered) => report(answered, 0)),
    remove: (attachment) => remove(attachment),
    inTurn: (containerId, work) => queue.run(containerId, work),
  };
}

type Order = (invocation: CniInvocation, work: () => Promise<Done>) => Promise<Done>;

interface Received {
  readonly invocation: CniInvocation;
  readonly json: unknown;
  readonly descriptors: readonly number[];
  readonly startedAt: number;
}

interface Understood {
  readonly invocation: CniInvocation;
  readonly config: NetworkConfig;
  readonly pod: { readonly descriptors: PodDescriptors };
  readonly startedAt: number;
}

function answerUnreadable(reason: string, observe: (outcome: CniOutcome) => void): Uint8Array {
  const error = unreadable(reason);
  observe({ command: 'unknown', error });
  return encodeAnswer(NEWEST_CNI_VERSION, failed(error));
}

function podDescriptors(
  { command }: CniInvocation,
  descriptors: readonly number[],
): Decoded<{ readonly descriptors: PodDescriptors }> {
  const netlinkFd = descriptors[NETLINK_DESCRIPTOR] ?? -1;
  const netnsFd = descriptors[NETNS_DESCRIPTOR] ?? -1;
  const isNeeded = command === 'ADD' || command === 'CHECK';
  if (isNeeded && (netlinkFd < 0 || netnsFd < 0)) {
    return refused(
      `${command} came without the pod's descriptors: install the weft CNI plugin of the agent's version`,
    );
  }
  return decoded({ descriptors: { netlinkFd, netnsFd } });
}

/** As Kubernetes names things; it goes into the log on disk, the status pages and every line about the pod. */
const KUBERNETES_NAME = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/;

/** For people only: what is no name is left out. */
function podName(invocation: CniInvocation): string | undefined {
  if (invocation.command !== 'ADD') return undefined;
  const { podName: name = '', podNamespace: namespace = '' } = invocation.args;
  if (!KUBERNETES_NAME.test(name) || (namespace !== '' && !KUBERNETES_NAME.test(namespace))) return undefined;
  return `${namespace}/${name}`;
}

function outcome(invocation: CniInvocation, answer: Done): CniOutcome {
  const attachment = answer.ok ? answer.attachment : undefined;
  // A runtime names the pod with ADD at least; the record has it from then on.
  const name = podName(invocation) ?? attachment?.podName;
  return {
    command: invocation.command,
    ...('containerId' in invocation
      ? { containerId: invocation.containerId, interfaceName: invocation.interfaceName }
      : {}),
    ...(name === undefined ? {} : { podName: name }),
    ...(attachment === undefined ? {} : { attachment }),
    ...(answer.ok ? {} : { error: answer.error }),
  };
}
