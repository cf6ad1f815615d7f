// Asks the agent of this node, at its status address (WEAVE_HTTP_ADDR), for its report.
import { OperationError, codeOf } from '../operation-error.ts';
import type { NodeReport } from '../../proto/node-report.ts';
import { SETTING_TABLE } from '../settings.ts';

const ADDRESS = 'WEAVE_HTTP_ADDR';
const PATIENCE_MS = 5000;

type Environment = Readonly<Record<string, string | undefined>>;

/** Throws OperationError AGENT_SILENT when nobody answers. */
export async function askReport(env: Environment): Promise<NodeReport> {
  return JSON.parse(await askAgent(env, '/report')) as NodeReport; // as: of the same version, or of a neighbouring one
}

/** The page at `path`, also when it is told with 503. */
export async function askAgent(env: Environment, path: string): Promise<string> {
  const address = env[ADDRESS] || SETTING_TABLE.find(([name]) => name === ADDRESS)?.[1];
  try {
    const response = await fetch(`http://${address}${path}`, { signal: AbortSignal.timeout(PATIENCE_MS) });
    return await response.text();
  } catch (error) {
    throw new OperationError(
      `No agent answers at ${address} (${codeOf(error instanceof TypeError ? error.cause : error)}): look at "kubectl -n weft get pods -o wide" and "kubectl -n weft logs" of this node; another address is set by ${ADDRESS}`,
      { code: 'AGENT_SILENT', context: { address: address ?? '' }, cause: error },
    );
  }
}
