// The log line of one answered request: each ADD and DEL at debug, failures as warnings. The same failure of many pods, which the runtime tries
// again every few seconds, is told once in ten minutes with how often it was; each of them is at debug.
import { formatIpv4 } from '../../../proto/address.ts';
import type { Logger } from '../../telemetry/logger.ts';
import { Repeats } from '../../telemetry/told-once.ts';
import type { CniOutcome } from './cni-server.ts';

export interface OutcomeLog {
  /** `seconds`: from the whole request to the reply. */
  tell(outcome: CniOutcome, seconds: number): void;
}

export function createOutcomeLog(log: Pick<Logger, 'debug' | 'warn'>, nowMs: () => number): OutcomeLog {
  const repeats = new Repeats();
  return { tell: (outcome, seconds) => tellOutcome(outcome, seconds, { log, repeats, nowMs: nowMs() }) };
}

/** Beside what the message, which the runtime shows, says itself. */
const REMEDIES = {
  cni_failed: 'The runtime tries again; if it goes on, look what `weft doctor` finds on this node',
  cni_refused: "If it goes on, find who connects to the agent's CNI socket",
};

interface Telling {
  readonly log: Pick<Logger, 'debug' | 'warn'>;
  readonly repeats: Repeats;
  readonly nowMs: number;
}

function tellOutcome(outcome: CniOutcome, seconds: number, { log, repeats, nowMs }: Telling): void {
  const { command, containerId, interfaceName, podName, error, attachment } = outcome;
  const fields = { command, container: containerId, interface: interfaceName, pod: podName };
  if (error !== undefined) {
    const event = command === 'unknown' ? 'cni_refused' : 'cni_failed';
    const message = command === 'unknown' ? error.msg : `${command} failed: ${error.msg}`;
    const facts = { ...(command !== 'unknown' && fields), cni_code: error.code };
    // A runtime asks for the status every few seconds; agent_not_ready has said it once.
    const repeated = command === 'STATUS' ? undefined : repeats.admit(message, nowMs);
    if (repeated === undefined) log.debug(event, message, facts);
    else log.warn(event, `${message}. ${REMEDIES[event]}`, { ...facts, ...(repeated > 1 && { repeated }) });
    return;
  }
  if (command !== 'ADD' && command !== 'DEL') return;
  const who = podName ?? containerId;
  if (attachment === undefined) {
    log.debug('detach_repeated', `Nothing to detach for ${who}`, fields);
    return;
  }
  const address = formatIpv4(attachment.address);
  const { hostInterface } = attachment;
  const durationMs = Math.round(seconds * 1000);
  const where = `${who}: ${address} on ${hostInterface} in ${durationMs} ms`;
  const facts = { ...fields, address, host_interface: hostInterface, duration_ms: durationMs };
  if (command === 'ADD') log.debug('pod_attached', `Attached ${where}`, facts);
  else log.debug('pod_detached', `Detached ${where}`, facts);
}
