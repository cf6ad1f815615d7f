// What a bug report has, how large it is, and that nothing secret is in it.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { type BugReportSources, makeBugReport } from '../../agent/cli/bug-report.ts';
import { settingsTold } from '../../agent/control/status/node-facts.ts';
import { OperationError } from '../../agent/operation-error.ts';
import { SETTING_TABLE } from '../../agent/setting-table.ts';
import { largeIpamReport, largeReport } from '../support/large-report.ts';

const LIMIT_BYTES = 1_000_000;
const PEERS = 1000;
const PODS = 250;

const sources: BugReportSources = {
  version: '0.1.0',
  writtenAt: new Date('2026-11-21T12:00:00Z'),
  host: {
    kernel: '6.18.0',
    kernelBuild: '#1 SMP',
    machine: 'x64',
    processors: 2,
    memoryBytes: 8e9,
    node: 'v24.21.0',
  },
  report: async () => largeReport({ peers: PEERS, pods: PODS, failed: 10 }),
  ipam: async () => largeIpamReport({ peers: PEERS }),
  nftables: async () => ({ inet: [], bridge: [] }),
  metrics: async () => 'weave_max_ips 1048576\n',
};

describe('makeBugReport', () => {
  it(`is below 1 MB at ${PEERS} peers and ${PODS} pods`, async (t) => {
    // As many elements as the pods have in the anti-spoof table, and as many lines as a scrape of such a node has.
    const element = { concat: ['vethwe0123456', '0a:58:0a:28:00:02', '10.40.0.2'] };
    const report = await makeBugReport({
      ...sources,
      nftables: async () => ({ bridge: Array.from({ length: 3 * PODS }, () => ({ elem: element })) }),
      metrics: async () =>
        'weft_peer_egress_bytes_total{peer="node-0123",something="of the usual length"} 123456789012\n'.repeat(
          2000,
        ),
    });
    const bytes = JSON.stringify(report).length;
    t.diagnostic(`${bytes} bytes at ${PEERS} peers and ${PODS} pods`);
    assert.ok(bytes < LIMIT_BYTES, `${bytes} bytes`);
    assert.deepEqual(report.missing, {});
  });

  it('names what cannot be had, with why', async () => {
    const report = await makeBugReport({
      ...sources,
      report: async () => {
        throw new OperationError('No agent answers at 127.0.0.1:6784 (ECONNREFUSED)', {
          code: 'AGENT_SILENT',
        });
      },
    });
    assert.equal('report' in report, false);
    assert.deepEqual(report.missing, { report: 'No agent answers at 127.0.0.1:6784 (ECONNREFUSED)' });
    assert.ok(report.ipam !== undefined && report.metrics !== undefined);
  });

  it('leaves secrets out of every text, and everything else as it is', async () => {
    const report = { ...largeReport({ peers: 3, pods: 3, failed: 1 }), notReady: ['password=canary'] };
    const { report: told, metrics } = await makeBugReport({
      ...sources,
      report: async () => report,
      metrics: async () => '# token=canary\n',
    });
    assert.deepEqual(told, JSON.parse(JSON.stringify({ ...report, notReady: ['password=[left out]'] })));
    assert.equal(metrics, '# token=[left out]\n');
  });

  it('does not hide a bug of our own', async () => {
    const broken = async (): Promise<never> => {
      throw new TypeError('x is undefined');
    };
    await assert.rejects(makeBugReport({ ...sources, metrics: broken }), TypeError);
  });
});

describe('settingsTold', () => {
  it('has the settings of the closed table that are set, and nothing else of the environment', () => {
    const environment = {
      ...Object.fromEntries(SETTING_TABLE.map(([name]) => [name, `value of ${name}`])),
      LOG_LEVEL: '',
      WEFT_PASSWORD: 'canary-1',
      KUBECONFIG: '/canary-2',
      AWS_SECRET_ACCESS_KEY: 'canary-3',
    };
    const told = settingsTold(environment);
    assert.deepEqual(
      Object.keys(told),
      SETTING_TABLE.map(([name]) => name).filter((name) => name !== 'LOG_LEVEL'),
    );
    assert.doesNotMatch(JSON.stringify(told), /canary/);
  });
});
