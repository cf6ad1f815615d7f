// The addresses of Services as the API tells them, held against the pods' range: where they overlap, kube-proxy takes packets for pods, or
// the node sends what is for Services into the tunnel. Ranges can be added while the cluster runs, so they are looked at again and again.
// A cluster without the kind (before Kubernetes 1.33), or that does not let the agent see it, leaves it at what preflight.ts knows.
import { setTimeout as pause } from 'node:timers/promises';

import { type Cidr, cidrsOverlap, formatCidr } from '../../../proto/address.ts';
import { parseCidr } from '../../../proto/address-text.ts';
import { decodeAddressBlock, decodePeer } from '../../../proto/api-decode.ts';
import { type ClusterApi, createClusterApi, userAgent } from '../../kube/api-client.ts';
import type { ApiEndpoint } from '../../kube/api-endpoint.ts';
import type { Clock } from '../../kube/clock.ts';
import { createHttpClient } from '../../kube/http.ts';
import { OperationError, codeOf } from '../../operation-error.ts';
import { contextFields } from '../../telemetry/field-names.ts';
import type { Logger } from '../../telemetry/logger.ts';
import { VERSION } from '../../version.ts';
import { createPersistentTask } from '../persistent-task.ts';

export interface ServiceRangesOptions {
  readonly range: Cidr;
  readonly api: () => Pick<ClusterApi, 'listServiceCidrs'>;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  /** The answer is another one than before. */
  readonly changed: () => void;
}

export interface ServiceRanges {
  /** From now on, for as long as it is not stopped. */
  start(): void;
  /** `unknown` until the API has answered once; undefined when they do not overlap, as far as can be seen. */
  conflict(): OperationError | 'unknown' | undefined;
  /** What the API told the last time; empty where it has not, or shows none. */
  known(): readonly string[];
  stop(): void;
}

const LOOK_MS = 600_000;
const ANSWER_LIMIT_MS = 30_000;
const ANSWER_RETRY_MS = 1000;

export function createServiceRanges(options: ServiceRangesOptions): ServiceRanges {
  const { range, clock, random, log } = options;
  let conflict: ReturnType<ServiceRanges['conflict']> = 'unknown';
  let known: readonly string[] = [];
  let cancelLook: (() => void) | undefined;

  const look = async (): Promise<void> => {
    const before = conflict;
    known = await visibleServiceCidrs(options.api());
    conflict = serviceOverlap(range, known);
    cancelLook?.();
    cancelLook = clock.setTimer(LOOK_MS * (0.75 + random() / 2), () => task.request());
    if (messageOf(before) === messageOf(conflict)) return;
    if (conflict !== undefined) {
      log.error(
        'range_refused',
        `${conflict.message}. No pods are attached until then; those that run are left alone`,
        {
          ...contextFields(conflict.context),
          code: conflict.code,
        },
      );
    }
    options.changed();
  };
  // What fails here fails for the objects of ours too, and is told there.
  const task = createPersistentTask({ run: look, failed: () => undefined, clock, random });

  return {
    start: () => task.request(),
    conflict: () => conflict,
    known: () => known,
    stop() {
      task.stop();
      cancelLook?.();
    },
  };
}

const messageOf = (conflict: ReturnType<ServiceRanges['conflict']>): string | undefined =>
  conflict instanceof OperationError ? conflict.message : conflict;

/** Empty where the API does not have or does not show them. Throws OperationError when it does not answer. */
async function visibleServiceCidrs(api: Pick<ClusterApi, 'listServiceCidrs'>): Promise<readonly string[]> {
  try {
    return await api.listServiceCidrs();
  } catch (error) {
    if (codeOf(error) === 'FORBIDDEN' || codeOf(error) === 'NOT_FOUND') return [];
    throw error;
  }
}

/**
 * Before another agent of the node is asked to let go: it serves meanwhile, so there is time. Throws OperationError RANGE_OVERLAP. That an API
 * which is away does not answer is no reason against taking over.
 */
export async function requireFreeOfServices(
  range: Cidr,
  endpoint: () => Promise<ApiEndpoint>,
): Promise<void> {
  const ask = async (): Promise<readonly string[]> => {
    const http = createHttpClient({ endpoint: await endpoint(), userAgent: userAgent(VERSION) });
    try {
      return await visibleServiceCidrs(createClusterApi({ http, decodePeer, decodeAddressBlock }));
    } finally {
      http.close();
    }
  };
  const end = performance.now() + ANSWER_LIMIT_MS;
  for (;;) {
    const limit = pause(Math.max(0, end - performance.now()), 'late' as const, { ref: false });
    const answer = await Promise.race([ask().catch(() => 'failed' as const), limit]);
    if (typeof answer !== 'string') {
      const conflict = serviceOverlap(range, answer);
      if (conflict !== undefined) throw conflict;
      return;
    }
    if (answer === 'late') return;
    await pause(ANSWER_RETRY_MS);
  }
}

/** As an error RANGE_OVERLAP with the remedy. */
export function serviceOverlap(range: Cidr, serviceCidrs: readonly string[]): OperationError | undefined {
  const found = serviceCidrs.find((text) => overlaps(range, text));
  if (found === undefined) return undefined;
  return new OperationError(
    `Cannot use IPALLOC_RANGE="${formatCidr(range)}": it overlaps the addresses of Services, ${found}; choose a range that neither Services nor hosts use`,
    { code: 'RANGE_OVERLAP', context: { range: formatCidr(range), conflict: found } },
  );
}

/** IPv6 overlaps with nothing of ours, and what is no CIDR is nobody's range. */
export function overlaps(range: Cidr, text: string): boolean {
  try {
    return cidrsOverlap(range, parseCidr(text));
  } catch {
    return false;
  }
}
