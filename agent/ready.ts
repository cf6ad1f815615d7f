// Program: the startup probe of the agent's pod. Ends well as soon as control has said that pods can be attached
// (control/status/readiness.ts), and badly when it has not for a while. One that waits costs one start of Node instead of one a second,
// tells within milliseconds, and an ordinary start has no failed probe, of which the kubelet makes a warning.
import { existsSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';

const WAIT_MS = 120_000; // less than the probe's timeoutSeconds by a start of Node under load
const LOOK_MS = 50;

const file = process.env['WEFT_READY_FILE'] ?? '';
const end = performance.now() + WAIT_MS;
while (!existsSync(file) && performance.now() < end) await pause(LOOK_MS);
if (!existsSync(file)) {
  process.stdout.write('Pods cannot be attached yet; kubectl logs of this pod tells why\n');
  process.exitCode = 1;
}
