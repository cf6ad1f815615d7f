// What the agents ask of the API server, out of its audit log (control-plane.ts): requests are counted where they arrive, also those
// that are refused.
import { readFileSync } from 'node:fs';

import { AUDIT_LOG } from './control-plane.ts';

export interface AgentRequest {
  /** The agent's pod. */
  readonly pod: string;
  readonly verb: string;
  readonly resource: string;
  /** Status of the answer; 0 when there is none yet. */
  readonly status: number;
  /** Of its arrival, in ms of the wall clock. */
  readonly at: number;
}

interface AuditEvent {
  readonly auditID: string;
  readonly responseStatus?: { readonly code?: number };
  readonly stage: string;
  readonly verb: string;
  readonly requestReceivedTimestamp: string;
  readonly objectRef?: { readonly resource?: string };
  readonly user: { readonly extra?: Readonly<Record<string, readonly string[]>> };
}

/** In the order of their arrival. */
export function agentRequests(): readonly AgentRequest[] {
  const lines = readFileSync(AUDIT_LOG, 'utf8').split('\n').slice(0, -1); // what follows the last newline is not whole
  const events = lines.map((line) => JSON.parse(line) as AuditEvent); // as: audit.k8s.io/v1
  const statuses = new Map(events.map(({ auditID, responseStatus }) => [auditID, responseStatus?.code ?? 0]));
  return events
    .filter(({ stage }) => stage === 'RequestReceived')
    .map(({ auditID, verb, objectRef, requestReceivedTimestamp, user }) => ({
      status: statuses.get(auditID) ?? 0,
      pod: user.extra?.['authentication.kubernetes.io/pod-name']?.[0] ?? 'unknown',
      verb,
      resource: objectRef?.resource ?? 'unknown',
      at: Date.parse(requestReceivedTimestamp),
    }));
}

/** "list peers 1, watch peers 1, watch peers (403) 2" */
export function inWords(requests: readonly AgentRequest[]): string {
  const counts = new Map<string, number>();
  for (const { verb, resource, status } of requests) {
    const key = status < 400 ? `${verb} ${resource}` : `${verb} ${resource} (${status})`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return [...counts].map(([key, count]) => `${key} ${count}`).join(', ') || 'none';
}
