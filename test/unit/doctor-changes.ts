// The doctor's healthy scene with one thing changed.
import assert from 'node:assert/strict';

import type { NodeReport, PeerStatus } from '../../proto/node-report.ts';
import type { Link } from '../../proto/rtnetlink-link.ts';
import type { AgentFacts, ApiAnswer, FileFacts, PeerTraffic, Scene } from '../../agent/doctor/scene.ts';
import { healthy, report } from './doctor-scene.ts';

export const withReport = (change: Partial<NodeReport>, agent: Partial<AgentFacts> = {}): Scene => ({
  ...healthy,
  agent: { ...healthy.agent, report: { ...report, ...change }, ...agent },
});
export const withLink = (name: string, change: Partial<Link>): Scene => ({
  ...healthy,
  kernel: {
    ...healthy.kernel,
    links: healthy.kernel.links.map((link) => (link.name === name ? Object.assign({}, link, change) : link)),
  },
});
export const withoutLink = (name: string): Scene => ({
  ...healthy,
  kernel: { ...healthy.kernel, links: healthy.kernel.links.filter((link) => link.name !== name) },
});
export const withRoutes = (...routes: Scene['kernel']['routes']): Scene => ({
  ...healthy,
  kernel: { ...healthy.kernel, routes: [...healthy.kernel.routes, ...routes] },
});
export const withFiles = (change: Partial<FileFacts>): Scene => ({
  ...healthy,
  files: { ...healthy.files, ...change },
});
export const withPeer = (change: Partial<PeerStatus>, scene: Partial<Scene> = {}): Scene => ({
  ...withReport({
    peers: [
      ...report.peers.slice(0, 1).flatMap((peer) => [{ ...peer, ...change }]),
      ...report.peers.slice(1),
    ],
  }),
  ...scene,
});
export const traffic: NonNullable<Scene['traffic']> = healthy.traffic!; // !: the healthy scene has it
export const withPeerTraffic = (change: Partial<PeerTraffic>): Scene => ({
  ...healthy,
  traffic: {
    ...traffic,
    peers: traffic.peers.map((peer, at) => (at === 0 ? Object.assign({}, peer, change) : peer)),
  },
});
export const answer = (change: Partial<ApiAnswer>): ApiAnswer => ({
  status: 200,
  failure: undefined,
  milliseconds: 10,
  clockAheadSeconds: 0,
  body: undefined,
  ...change,
});
export const withApi = (node: Partial<ApiAnswer>, peer: Partial<ApiAnswer> = {}): Scene => ({
  ...healthy,
  api: {
    server: 'https://10.96.0.1:443',
    configuration: undefined,
    node: answer({ body: { metadata: { uid: 'uid-a' } }, ...node }),
    peer: answer({ body: { spec: {} }, ...peer }),
  },
});
export const chain = (hook: string, policy = 'accept'): Readonly<Record<string, unknown>> => ({
  chain: { family: 'inet', table: 'fw', name: hook, type: 'filter', hook, prio: 0, policy },
});
export const firewallRule = (
  hook: string,
  ...expr: readonly unknown[]
): Readonly<Record<string, unknown>> => ({
  rule: { family: 'inet', table: 'fw', chain: hook, handle: 7, expr },
});
export const toTunnel = {
  match: { op: '==', left: { payload: { protocol: 'udp', field: 'dport' } }, right: 6784 },
};
export const failed: Partial<PeerStatus> = { state: 'failed', lastHeardSeconds: 9, lastRequestSeconds: 9 };
const { cni: cniFacts } = healthy.files;

export const withSockets = (change: Partial<Scene['sockets']>): Scene => ({
  ...healthy,
  sockets: { ...healthy.sockets, ...change },
});
const [tunnelSocket] = healthy.sockets.udp;
assert.ok(tunnelSocket !== undefined && cniFacts !== undefined);
export const socket: Scene['sockets']['udp'][number] = tunnelSocket;
export const cni: NonNullable<FileFacts['cni']> = cniFacts;

export const silent: Scene = {
  ...healthy,
  agent: { report: undefined, earlier: undefined, refusal: undefined, silence: 'ECONNREFUSED' },
  processes: [],
};

export type DoctorCase = readonly [check: string, fault: string, scene: Scene, says: RegExp];
