// What a person can do about an API request that failed, by its code; for log lines.
import { codeOf } from '../../operation-error.ts';

export const CRD_REMEDY =
  'look whether the custom resource definitions are of this version: apply its manifest';

const REMEDIES: Readonly<Record<string, string>> = {
  FORBIDDEN: "let the agent's ClusterRole allow it: apply the manifest of this version",
  UNAUTHORIZED: "look whether the agent's service account exists and the node's clock is right",
  UNAVAILABLE: 'look whether the API server is up and can be reached from this node',
  INVALID: CRD_REMEDY,
  NOT_FOUND:
    'look whether the custom resource definitions of this version are installed (apply its manifest) and the Node object exists',
};

/** What happened, that it is tried again, and where there is something to do, what. */
export function withRemedy(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  const remedy = REMEDIES[codeOf(error)];
  return `${message}; it is tried again${remedy === undefined ? '' : `: ${remedy}`}`;
}
