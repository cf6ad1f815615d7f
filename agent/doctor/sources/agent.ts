// What the agent of this node says of itself, at its status address.
import { codeOf } from '../../operation-error.ts';
import type { NodeReport } from '../../../proto/node-report.ts';

const PATIENCE_MS = 2000;

export type AgentAnswer =
  | { readonly kind: 'report'; readonly report: NodeReport }
  | { readonly kind: 'refused'; readonly reason: string }
  | { readonly kind: 'silent'; readonly code: string };

export async function askAgent({ host, port }: { host: string; port: number }): Promise<AgentAnswer> {
  try {
    const authority = host.includes(':') ? `[${host}]` : host;
    const response = await fetch(`http://${authority}:${port}/report`, {
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    const value: unknown = await response.json();
    if (typeof value !== 'object' || value === null || !('notReady' in value)) {
      return { kind: 'silent', code: 'NO_AGENT' };
    }
    // An agent that cannot start tells its version, its name and why.
    if (!('network' in value) || !('peers' in value)) {
      return { kind: 'refused', reason: Array.isArray(value.notReady) ? value.notReady.join('; ') : '' };
    }
    return { kind: 'report', report: value as NodeReport }; // as: of the same version, or of a neighbouring one
  } catch (error) {
    if (error instanceof SyntaxError) return { kind: 'silent', code: 'NO_AGENT' };
    if (error instanceof Error && error.name === 'TimeoutError') return { kind: 'silent', code: 'TIMEOUT' };
    return { kind: 'silent', code: codeOf(error instanceof TypeError ? error.cause : error) };
  }
}
