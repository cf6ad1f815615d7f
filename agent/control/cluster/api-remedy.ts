// What a person can do about an API request that failed, by its code; for log lines.
import { codeOf } from '../../operation-error.ts';

export const CRD_REMEDY =
  'look whether the custom resource definitions are of this version: apply its manifest';

const REMEDIES: Readonly<Record<string, string>> = {
  FORBIDDEN: "let the agent's ClusterRole allow it: apply the manifest of this version",
  UNAUTHORIZED: "look whether the agent's service account exists and the node's clock is right",
  UNAVAILABLE: 'look whether the API server is up and can be reached from this node',
  THROTTLED: 'nothing is to be done while the API server recovers from its load',
  INVALID: CRD_REMEDY,
  NOT_FOUND:
    'look whether the custom resource definitions of this version are installed (apply its manifest) and the Node object exists',
};

const OTHER_REMEDY = 'if it goes on, look at what the API server logs of it';

/** What happened, that it is tried again, and what to do. */
export function withRemedy(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return `${message}; it is tried again: ${REMEDIES[codeOf(error)] ?? OTHER_REMEDY}`;
}
