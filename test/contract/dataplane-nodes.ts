// The nodes of dataplane.test.ts, whose head has a drawing: two with the data plane process under a keeper, one with the kernel's device.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';

import { ipv4, mac, vni } from '../../proto/address.ts';
import {
  type Counter,
  STATS_FILE,
  counterColumn,
  dropColumn,
  processGaugeColumn,
  statsIndex,
} from '../../proto/dataplane-stats.ts';
import type { DropReason } from '../../proto/drop-reason.ts';
import { encodeForwardingTable } from '../../proto/forwarding-codec.ts';
import { type Talker, talk, until } from './talker.ts';

export const PORT = 6784;
export const RANGE = 0x0a20_0000;
const UNDERLAY = 0xc0a8_0700;
export const MAC_BASE = 0x0e00_0000_0000;
const NODES = ['a', 'b', 'c'] as const;
export type Node = (typeof NODES)[number];
export const ADDRESS: Readonly<Record<Node, string>> = { a: '10.32.0.1', b: '10.32.0.65', c: '10.32.0.129' };
const directory = mkdtempSync(join(tmpdir(), 'weft-dataplane-'));
export const namespace = (name: string): string => `weft-test-${process.pid}-${name}`;
const runDirectory = (node: Node): string => join(directory, node);

export const ip = (...words: string[]): string => execFileSync('ip', words, { encoding: 'utf8' });
export const inside = (node: Node, ...words: string[]): string =>
  execFileSync('ip', ['netns', 'exec', namespace(node), ...words], { encoding: 'utf8', stdio: 'pipe' });

const made: string[] = [];
const keepers = new Map<Node, Talker>();
export const keeper = (node: Node): Talker => keepers.get(node) ?? assert.fail(`no keeper on ${node}`);

export function writeTable(node: Node, peers: readonly Node[], generation: number): void {
  const owners = new Uint16Array(2 ** 14);
  const number = (name: Node): number => NODES.indexOf(name) + 1;
  owners[number(node) - 1] = 1;
  for (const peer of peers) owners[number(peer) - 1] = 2 + number(peer);
  const bytes = encodeForwardingTable({
    generation,
    range: { base: ipv4(RANGE), prefixLength: 12 },
    blockPrefixLength: 26,
    vni: vni(1),
    vtepMac: mac(MAC_BASE + number(node)),
    gateway: ipv4(RANGE + (number(node) - 1) * 64 + 1),
    peers: peers.map((peer) => ({
      slot: number(peer),
      address: ipv4(UNDERLAY + number(peer)),
      port: PORT,
      vtepMac: mac(MAC_BASE + number(peer)),
      probes: peer !== 'c',
    })),
    owners,
  });
  mkdirSync(runDirectory(node), { recursive: true });
  writeFileSync(join(runDirectory(node), 'forwarding-table.new'), bytes);
  renameSync(join(runDirectory(node), 'forwarding-table.new'), join(runDirectory(node), 'forwarding-table'));
}

export function counted(node: Node, row: number, column: number): number {
  const bytes = readFileSync(join(runDirectory(node), STATS_FILE));
  return bytes.readDoubleLE(statsIndex(row, column) * 8);
}
export const dropped = (node: Node, row: number, reason: DropReason): number =>
  counted(node, row, dropColumn(reason));
export const counter = (node: Node, row: number, name: Counter): number =>
  counted(node, row, counterColumn(name));

export const generation = (node: Node): number => counted(node, 0, processGaugeColumn('generation'));

function makeUnderlay(): void {
  for (const name of ['u', ...NODES]) {
    ip('netns', 'add', namespace(name));
    made.push(name);
    ip('-n', namespace(name), 'link', 'set', 'lo', 'up');
  }
  ip('-n', namespace('u'), 'link', 'add', 'br0', 'type', 'bridge');
  ip('-n', namespace('u'), 'link', 'set', 'br0', 'up');
  for (const [index, node] of NODES.entries()) {
    ip(
      '-n',
      namespace('u'),
      'link',
      'add',
      `v${node}`,
      'type',
      'veth',
      'peer',
      'name',
      'eth0',
      'netns',
      namespace(node),
    );
    ip('-n', namespace('u'), 'link', 'set', `v${node}`, 'master', 'br0', 'up');
    ip('-n', namespace(node), 'addr', 'add', `192.168.7.${index + 1}/24`, 'dev', 'eth0');
    ip('-n', namespace(node), 'link', 'set', 'eth0', 'up');
  }
}

/** Flannel's programming of a kernel device: one neighbour, FDB entry and route per peer. */
function makeKernelPeer(): void {
  const n = namespace('c');
  ip(
    '-n',
    n,
    'link',
    'add',
    'vx0',
    'address',
    '0e:00:00:00:00:03',
    'mtu',
    '1450',
    'type',
    'vxlan',
    'id',
    '1',
    'dstport',
    String(PORT),
    'local',
    '192.168.7.3',
    'nolearning',
  );
  ip('-n', n, 'link', 'set', 'vx0', 'up');
  ip('-n', n, 'addr', 'add', `${ADDRESS.c}/32`, 'dev', 'vx0');
  for (const [index, base] of ['10.32.0.0', '10.32.0.64'].entries()) {
    const lladdr = `0e:00:00:00:00:0${index + 1}`;
    ip('-n', n, 'neigh', 'add', base, 'lladdr', lladdr, 'dev', 'vx0', 'nud', 'permanent');
    execFileSync('bridge', [
      '-n',
      n,
      'fdb',
      'add',
      lladdr,
      'dev',
      'vx0',
      'dst',
      `192.168.7.${index + 1}`,
      'self',
      'permanent',
    ]);
    ip('-n', n, 'route', 'add', `${base}/26`, 'via', base, 'dev', 'vx0', 'onlink', 'src', ADDRESS.c);
  }
}

async function startWeft(node: Node, index: number): Promise<void> {
  writeTable(
    node,
    NODES.filter((name) => name !== node),
    1,
  );
  const talker = talk(
    namespace(node),
    'dataplane-keeper.ts',
    runDirectory(node),
    `192.168.7.${index + 1}`,
    String(PORT),
  );
  keepers.set(node, talker);
  await talker.line(/^open/);
  configureTun(node);
  await until(() => generation(node) === 1, 'the active process uses the table');
}

/** As control does it. */
export function configureTun(node: Node): void {
  ip('-n', namespace(node), 'addr', 'add', `${ADDRESS[node]}/32`, 'dev', 'weft0');
  ip('-n', namespace(node), 'link', 'set', 'weft0', 'mtu', '1450', 'txqueuelen', '10000', 'up');
  ip('-n', namespace(node), 'route', 'add', '10.32.0.0/12', 'dev', 'weft0', 'src', ADDRESS[node]);
  inside(node, 'sysctl', '-qw', 'net.ipv4.conf.weft0.accept_local=1'); // ICMP errors come from our own address
}

export async function startNodes(): Promise<void> {
  makeUnderlay();
  makeKernelPeer();
  await startWeft('a', 0);
  await startWeft('b', 1);
}

/** Also when they were never started. */
export async function endNodes(): Promise<void> {
  for (const { child } of keepers.values()) child.stdin?.end();
  await Promise.all([...keepers.values()].map(async ({ ended }) => ended));
  for (const name of made) ip('netns', 'del', namespace(name));
  rmSync(directory, { recursive: true, force: true });
}
