// Tells the cluster why the agent of this node cannot start, for as long as it cannot: the sentence on the status address, as soon as no
// other agent has it, and as an Event about the Node. Says nothing in the log but what keeps it from telling.
import { type ClusterApi, createClusterApi, userAgent } from '../kube/api-client.ts';
import { decodeAddressBlock, decodePeer } from '../../proto/api-decode.ts';
import type { Clock } from '../kube/clock.ts';
import { openClusterEndpoint } from '../kube/endpoint-config.ts';
import { createHttpClient } from '../kube/http.ts';
import type { Environment, Reporting } from '../settings.ts';
import type { Logger } from '../telemetry/logger.ts';
import { VERSION } from '../version.ts';
import { type NodeEvents, createNodeEvents } from './cluster/node-events.ts';
import { openRefusedStatusServer } from './status/status-server.ts';
import { createRequestLog } from './status/request-log.ts';
import type { Trouble } from './trouble.ts';

export interface RefusalReportOptions {
  readonly reporting: Reporting;
  readonly environment: Environment;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
}

export interface RefusalReport {
  /** From now on this is why. */
  tell(refusal: Trouble): void;
  /** It is over, until told again; resolves when the status address is free. */
  end(): Promise<void>;
}

const RETRY_MS = 1000;

export function createRefusalReport(options: RefusalReportOptions): RefusalReport {
  let current: Trouble | undefined;
  let events: NodeEvents | undefined;
  let status: ReturnType<typeof keepStatusServer> | undefined;
  return {
    tell(refusal) {
      current = refusal;
      events ??= openNodeEvents(options);
      events?.tell([refusal]);
      status ??= keepStatusServer(options, () => current?.message ?? '');
    },
    async end() {
      events?.stop();
      events = undefined;
      const open = status;
      status = undefined;
      await open?.close();
    },
  };
}

/** Undefined where the name of the Node is not known. */
function openNodeEvents({
  reporting,
  environment,
  clock,
  random,
  log,
}: RefusalReportOptions): NodeEvents | undefined {
  if (reporting.nodeName === undefined) return undefined;
  let api: Promise<ClusterApi> | undefined;
  const connect = async (): Promise<ClusterApi> => {
    const endpoint = await openClusterEndpoint({ environment });
    const http = createHttpClient({ endpoint, userAgent: userAgent(VERSION) });
    return createClusterApi({ http, decodePeer, decodeAddressBlock });
  };
  return createNodeEvents({
    nodeName: reporting.nodeName,
    // Configured anew after each failure: what is wrong may be just that.
    api: () => {
      api ??= connect().catch((error: unknown) => {
        api = undefined;
        throw error;
      });
      return api;
    },
    settleMs: 0,
    clock,
    random,
    log,
  });
}

function keepStatusServer(
  { reporting, clock, log }: RefusalReportOptions,
  reason: () => string,
): { close(): Promise<void> } {
  const { host, port } = reporting.statusAddress;
  let isClosed = false;
  let cancelRetry: (() => void) | undefined;
  const open = async (): Promise<Awaited<ReturnType<typeof openRefusedStatusServer>> | undefined> => {
    try {
      return await openRefusedStatusServer(
        { version: VERSION, nodeName: reporting.nodeName ?? '', reason },
        {
          host,
          port,
          failed: createRequestLog(log),
        },
      );
    } catch {
      // Another agent has it, which tells for itself, or the address is one that the node does not have.
      if (!isClosed) cancelRetry = clock.setTimer(RETRY_MS, tryAgain);
      return undefined;
    }
  };
  const tryAgain = (): void => {
    opening = open();
  };
  let opening = open();
  return {
    async close() {
      isClosed = true;
      cancelRetry?.();
      await (await opening)?.close();
    },
  };
}
