// The log line of one answered request: each ADD and DEL at debug, failures as warnings.
import { formatIpv4 } from '../../../proto/address.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { CniOutcome } from './cni-server.ts';

/** `seconds`: from the whole request to the reply. */
export function logOutcome(outcome: CniOutcome, seconds: number, log: Pick<Logger, 'debug' | 'warn'>): void {
  const { command, containerId, interfaceName, podName, error, attachment } = outcome;
  const fields = { command, container: containerId, interface: interfaceName, pod: podName };
  if (error !== undefined) {
    // A runtime asks for the status every few seconds; agent_not_ready has said it once.
    if (command === 'unknown') log.warn('cni_refused', error.msg, { code: error.code });
    else {
      log[command === 'STATUS' ? 'debug' : 'warn']('cni_failed', `${command} failed: ${error.msg}`, {
        ...fields,
        code: error.code,
      });
    }
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
