// What a bug report has: one value, made of what can be had; what cannot is named in its place. Secrets are none of it: of the environment the
// closed table of settings alone goes along, and what looks like a credential in any text is left out besides.
import type { IpamReport, NodeReport, RefusedReport } from '../../proto/node-report.ts';
import { OperationError } from '../operation-error.ts';
import { withoutSecrets } from '../secrets.ts';

export interface BugReport {
  /** Of this form. */
  readonly form: 1;
  readonly writtenAt: string;
  /** Of the program that wrote it. */
  readonly version: string;
  readonly host: HostFacts;
  readonly report?: NodeReport | RefusedReport;
  readonly ipam?: IpamReport;
  /** Weft's nftables tables as `nft -j list table` tells them, by family: rules, elements, counters. */
  readonly nftables?: Readonly<Record<string, unknown>>;
  /** All metrics, in the text form. */
  readonly metrics?: string;
  /** By part: why it could not be had. */
  readonly missing: Readonly<Record<string, string>>;
}

export interface HostFacts {
  readonly kernel: string;
  readonly kernelBuild: string;
  readonly machine: string;
  readonly processors: number;
  readonly memoryBytes: number;
  readonly node: string;
}

export interface BugReportSources {
  readonly version: string;
  readonly writtenAt: Date;
  readonly host: HostFacts;
  readonly report: () => Promise<NodeReport | RefusedReport>;
  readonly ipam: () => Promise<IpamReport>;
  readonly nftables: () => Promise<Readonly<Record<string, unknown>>>;
  readonly metrics: () => Promise<string>;
}

export async function makeBugReport(sources: BugReportSources): Promise<BugReport> {
  const missing: Record<string, string> = {};
  const had = async <T>(part: string, ask: () => Promise<T>): Promise<Partial<Record<string, T>>> => {
    try {
      return { [part]: await ask() };
    } catch (error) {
      if (!(error instanceof OperationError)) throw error;
      missing[part] = error.message;
      return {};
    }
  };
  const parts = await Promise.all([
    had('report', sources.report),
    had('ipam', sources.ipam),
    had('nftables', sources.nftables),
    had('metrics', sources.metrics),
  ]);
  const { version, writtenAt, host } = sources;
  return clean({
    form: 1,
    writtenAt: writtenAt.toISOString(),
    version,
    host,
    ...Object.assign({}, ...parts),
    missing,
  });
}

function clean<T>(value: T): T {
  const text = JSON.stringify(value, (_key, part: unknown) =>
    typeof part === 'string' ? withoutSecrets(part) : part,
  );
  return JSON.parse(text) as T; // as: of the same form, its texts are still texts
}
