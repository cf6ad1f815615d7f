// A report as another agent sends it, maybe one of an earlier release: what such a one does not tell is empty. Pure.
import type { NodeReport, RefusedReport } from '../../proto/node-report.ts';

/** Undefined: it is no report. Nothing but its outer form is checked: it comes from our own agent, over loopback. */
export function receivedReport(text: string): NodeReport | RefusedReport | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null || !('version' in value)) return undefined;
  if (!('peers' in value)) return value as RefusedReport; // as: what has no peers is of an agent that cannot start
  const report = value as NodeReport; // as: of this version, or of a neighbouring one
  return { ...report, recent: report.recent ?? [], settings: report.settings ?? {} };
}
