// A report of a node of a large cluster, with as much in it as there can be: for figures of size and time, and for one screen.
import type { IpamReport, NodeReport, PeerStatus } from '../../proto/node-report.ts';
import { REFUSAL_REASONS } from '../../proto/drop-reason.ts';
import { nodeReport } from './node-report.ts';

export interface LargeReportOptions {
  readonly peers: number;
  /** Of the peers, the first of them. */
  readonly failed?: number;
  readonly pods?: number;
}

const BLOCKS_PER_NODE = 4;
const digits = (value: number, count: number): string => String(value).padStart(count, '0');
const nodeName = (index: number): string => `node-${digits(index, 4)}`;
const hex = (value: number, count: number): string => value.toString(16).padStart(count, '0');
/** The n-th /26 of 10.32.0.0/12. */
const blockOf = (index: number): string =>
  `10.${32 + (index >> 10)}.${(index >> 2) & 0xff}.${(index & 3) * 64}/26`;

export function largeReport({ peers, failed = 0, pods = 0 }: LargeReportOptions): NodeReport {
  const all = Array.from({ length: peers }, (_, index): PeerStatus => {
    const isFailed = index < failed;
    return {
      name: nodeName(index + 1),
      address: `192.168.${(index + 1) >> 8}.${(index + 1) & 0xff}`,
      port: 6784,
      vtepMac: `0e:00:00:00:${hex(index >> 8, 2)}:${hex(index & 0xff, 2)}`,
      version: '0.1.0',
      state: isFailed ? 'failed' : 'established',
      sinceSeconds: 123_456.789 + index,
      lastHeardSeconds: isFailed ? 90.5 : 0.123 + (index % 7) / 10,
      lastRequestSeconds: 1.5,
      roundTripSeconds: 0.000_083 + (index % 100) / 1e5,
      probeLoss: isFailed ? 1 : (index % 50) / 1000,
      pathMtu: 1450,
      egressPackets: 1_234_567_890 + index,
      ingressPackets: 1_234_567_800 + index,
      blocks: BLOCKS_PER_NODE,
    };
  });
  return {
    ...nodeReport,
    node: { ...nodeReport.node, name: nodeName(0) },
    problems: [],
    ipam: {
      ...nodeReport.ipam,
      total: 255,
      used: pods,
      free: 255 - pods,
      ownBlocks: [0, 1, 2, 3].map((index) => ({ cidr: blockOf(index), state: 'held', used: pods / 4 })),
      blocksByNode: Object.fromEntries(
        Array.from({ length: peers + 1 }, (_, index) => [nodeName(index), BLOCKS_PER_NODE]),
      ),
      allocations: Array.from({ length: pods }, (_, index) => ({
        address: `10.32.${index >> 8}.${index & 0xff}`,
        containerId: hex(index, 64),
        interfaceName: 'eth0',
        podName: `some-namespace-of-usual-length/some-deployment-7c65d6cfc9-${hex(index, 5)}`,
        hostInterface: `vethwe${hex(index, 7)}`,
        sinceSeconds: 86_400.123 + index,
      })),
    },
    peers: all,
    drops: Object.fromEntries(REFUSAL_REASONS.map((reason, index) => [reason, 1000 + index])),
    recent: Array.from({ length: 10 }, (_, index) => ({
      level: 'warn',
      event: 'connection_failed',
      text: `Peer "${nodeName(index + 1)}" has stopped answering: check that the node is up and that UDP 6784 is open between the nodes`,
      ageSeconds: 45.2 + index,
      count: 1 + index,
    })),
  };
}

export const largeIpamReport = ({ peers }: LargeReportOptions): IpamReport => ({
  blocks: Array.from({ length: (peers + 1) * BLOCKS_PER_NODE }, (_, index) => ({
    cidr: blockOf(index),
    node: nodeName(Math.floor(index / BLOCKS_PER_NODE)),
    sinceSeconds: 270_000.5,
    abandonedSeconds: undefined,
  })),
  quarantined: [],
  freed: Array.from({ length: 100 }, (_, index) => ({
    address: `10.32.3.${index}`,
    sinceSeconds: 192.125 + index,
  })),
  serviceRanges: ['10.96.0.0/12'],
});
