// Program: tells the cluster why the keeper cannot start, which itself never talks to the API. The keeper writes a line of JSON with each
// try, {"code": …, "message": …}; the end of standard input is the end.
import { createInterface } from 'node:readline';

import { systemClock } from '../kube/clock.ts';
import { parseReporting } from '../settings.ts';
import { createLogger } from '../telemetry/logger.ts';
import { createRefusalReport } from './refusal-report.ts';
import type { Trouble } from './trouble.ts';

const reporting = parseReporting(process.env);
const report = createRefusalReport({
  reporting,
  environment: process.env,
  clock: systemClock,
  random: Math.random,
  log: createLogger({ role: 'control', level: reporting.logLevel, format: reporting.logFormat }),
});

for await (const line of createInterface({ input: process.stdin })) {
  report.tell(JSON.parse(line) as Trouble); // as: our own keeper wrote it
}
process.exit(0);
