// Makes vxlan-*.json again: outer frames as the kernel's own vxlan device sends them. Run as root: node test/vectors/capture-vxlan.ts
// Needs unshare, ip, bridge, ethtool, ping and tcpdump. Everything happens in private namespaces.
//
//   netns left                                                          netns right
//   vxlan0 10.32.0.1 ── under0 192.0.2.1 ═══════ veth ═══════ under0 192.0.2.2 (tcpdump) ── vxlan0 10.32.0.65 ── narrow0, MTU 1000
//   0e:…:01, VNI 1, port 6784, nolearning, static FDB and neighbours as flannel programs them            0e:…:02
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';

import { ETHERNET_HEADER_BYTES, ETHERNET_TYPE_OFFSET, ETHERTYPE_ARP } from '../../proto/ethernet.ts';
import {
  IPV4_HEADER_BYTES,
  IPV4_PROTOCOL_OFFSET,
  IP_PROTOCOL_ICMP,
  IP_PROTOCOL_TCP,
  IP_PROTOCOL_UDP,
} from '../../proto/ipv4-packet.ts';
import { UDP_DESTINATION_PORT_OFFSET, UDP_HEADER_BYTES } from '../../proto/udp.ts';
import { VXLAN_HEADER_BYTES } from '../../proto/vxlan.ts';
import { type VxlanVectors, SENTINEL_PORT, TUNNEL_PORT } from './vxlan-vectors.ts';

/** Of the inner frame, in the outer one: the kernel sends no outer options. */
const INNER_OFFSET = ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES + UDP_HEADER_BYTES + VXLAN_HEADER_BYTES;
const INNER_IPV4_OFFSET = INNER_OFFSET + ETHERNET_HEADER_BYTES;
const CAPTURE_BOUND_MS = 10_000;
/** Its own network, mounts and processes; what it started ends with it, also after a failure. */
const PRIVATE = ['--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];
const script = import.meta.filename;

type Protocol = 'arp' | 'icmp' | 'udp' | 'tcp';

const words = (line: string): string[] => line.split(' ');
const run = (line: string): string => {
  const [program, ...rest] = words(line);
  return execFileSync(program!, rest, { encoding: 'utf8' }); // !: split gives at least one word
};
const inside = (node: Side, line: string): string => run(`ip netns exec ${node.name} ${line}`);

interface Side {
  readonly name: 'left' | 'right';
  readonly number: number;
  readonly underlay: string;
  readonly blockBase: string;
  readonly address: string;
  readonly vtepMac: string;
}
const left: Side = {
  name: 'left',
  number: 1,
  underlay: '192.0.2.1',
  blockBase: '10.32.0.0',
  address: '10.32.0.1',
  vtepMac: '0e:00:00:00:00:01',
};
const right: Side = {
  name: 'right',
  number: 2,
  underlay: '192.0.2.2',
  blockBase: '10.32.0.64',
  address: '10.32.0.65',
  vtepMac: '0e:00:00:00:00:02',
};

function buildNode(self: Side, peer: Side): void {
  inside(self, 'sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv4.ip_forward=1');
  inside(self, 'ip link set lo up');
  inside(self, `ip link set under0 address 02:00:00:00:00:0${self.number}`);
  inside(self, `ip address add ${self.underlay}/24 dev under0`);
  inside(self, 'ip link set under0 up');
  inside(
    self,
    `ip link add vxlan0 address ${self.vtepMac} type vxlan id 1 dstport ${TUNNEL_PORT} local ${self.underlay} dev under0 nolearning`,
  );
  inside(self, 'ip link set vxlan0 mtu 1450 up');
  inside(self, `ip address add ${self.address}/32 dev vxlan0`);
  inside(self, `ip neigh add ${peer.blockBase} lladdr ${peer.vtepMac} dev vxlan0 nud permanent`);
  inside(self, `bridge fdb add ${peer.vtepMac} dev vxlan0 dst ${peer.underlay} self permanent`);
  inside(
    self,
    `ip route add ${peer.blockBase}/26 via ${peer.blockBase} dev vxlan0 onlink src ${self.address}`,
  );
}

/** Everything is complete on the wire: no checksum and no segmentation is left to a device. */
function switchOffloadsOff(node: Side): void {
  for (const device of ['vxlan0', 'under0']) inside(node, `ethtool -K ${device} tx off tso off gso off`);
}

function buildNetwork(offloads: boolean): void {
  run('mount -t tmpfs tmpfs /run'); // the private mount namespace's: where ip netns keeps its names
  mkdirSync('/run/netns');
  for (const node of [left, right]) run(`ip netns add ${node.name}`);
  run('ip link add under0 netns left type veth peer name under0 netns right');
  buildNode(left, right);
  buildNode(right, left);
  inside(right, 'ip link add narrow0 mtu 1000 type veth peer name narrow1');
  for (const end of ['narrow0', 'narrow1']) inside(right, `ip link set ${end} up`);
  inside(right, 'ip route add 10.32.0.128/26 dev narrow0');
  inside(left, 'ip route add 10.32.0.128/26 via 10.32.0.64 dev vxlan0 onlink src 10.32.0.1');
  inside(left, 'ip route add 10.32.9.0/24 dev vxlan0 src 10.32.0.1');
  inside(left, 'bridge fdb append 00:00:00:00:00:00 dev vxlan0 dst 192.0.2.2 self permanent');
  if (!offloads) for (const node of [left, right]) switchOffloadsOff(node);
}

/** Starts `line` and resolves once it has said `ready` on standard error or output. */
async function start(line: string, ready: string): Promise<ChildProcess> {
  const [program, ...rest] = words(line);
  const child = spawn(program!, rest, { stdio: ['ignore', 'pipe', 'pipe'] }); // !: split gives at least one word
  let said = '';
  await new Promise<void>((resolve, reject) => {
    const listen = (chunk: Buffer): void => {
      said += chunk.toString();
      if (said.includes(ready)) resolve();
    };
    child.stdout.on('data', listen);
    child.stderr.on('data', listen);
    child.once('exit', () => reject(new Error(`Cannot run "${line}": ${said}`)));
  });
  return child;
}

async function makeTraffic(): Promise<void> {
  inside(left, 'ping -q -c 1 -s 56 -p 5a 10.32.0.65');
  inside(left, 'ping -q -c 1 -s 33 -p 33 10.32.0.65');
  spawnSync('ip', words('netns exec left ping -q -c 1 -W 1 -M do -s 1200 10.32.0.130')); // fails: fragmentation needed
  spawnSync('ip', words('netns exec left ping -q -c 1 -W 1 10.32.9.9')); // fails: nobody answers the ARP request
  const server = await start(`ip netns exec right ${process.execPath} ${script} tcp-server`, 'listening');
  inside(left, `${process.execPath} ${script} tcp-client`);
  server.kill();
  inside(left, `${process.execPath} ${script} udp`);
}

/** The frames of a little-endian pcap file with microseconds, which is what tcpdump writes here. A torn last record is left out. */
function pcapFrames(file: Buffer): Buffer[] {
  if (file.length >= 4 && file.readUInt32LE(0) !== 0xa1b2c3d4)
    throw new Error('Cannot read the capture: not pcap');
  const frames: Buffer[] = [];
  let at = 24;
  while (at + 16 <= file.length) {
    const captured = file.readUInt32LE(at + 8);
    if (captured !== file.readUInt32LE(at + 12))
      throw new Error('Cannot use the capture: a frame was cut short');
    if (at + 16 + captured > file.length) break;
    frames.push(file.subarray(at + 16, at + 16 + captured));
    at += 16 + captured;
  }
  return frames;
}

function protocolOf(frame: Buffer): Protocol | undefined {
  if (frame.readUInt16BE(INNER_OFFSET + ETHERNET_TYPE_OFFSET) === ETHERTYPE_ARP) return 'arp';
  switch (frame.readUInt8(INNER_IPV4_OFFSET + IPV4_PROTOCOL_OFFSET)) {
    case IP_PROTOCOL_ICMP:
      return 'icmp';
    case IP_PROTOCOL_UDP:
      return 'udp';
    case IP_PROTOCOL_TCP:
      return 'tcp';
    default:
      return undefined;
  }
}

const isSentinel = (frame: Buffer): boolean =>
  protocolOf(frame) === 'udp' &&
  frame.readUInt16BE(INNER_IPV4_OFFSET + IPV4_HEADER_BYTES + UDP_DESTINATION_PORT_OFFSET) === SENTINEL_PORT;

async function capture(offloads: boolean): Promise<Buffer[]> {
  buildNetwork(offloads);
  const file = '/run/vxlan.pcap';
  const tcpdump = await start(
    `ip netns exec right tcpdump -i under0 -U --immediate-mode -s 0 -Z root -w ${file} udp port ${TUNNEL_PORT}`,
    'listening on',
  );
  await makeTraffic();
  const deadline = Date.now() + CAPTURE_BOUND_MS;
  let frames: Buffer[] = [];
  while (!frames.some((frame) => isSentinel(frame))) {
    if (Date.now() > deadline) throw new Error('Cannot finish the capture: its last datagram did not arrive');
    spawnSync('sleep', ['0.05']);
    frames = pcapFrames(readFileSync(file));
  }
  tcpdump.kill();
  await once(tcpdump, 'exit');
  return frames.filter((frame) => !isSentinel(frame) && protocolOf(frame) !== undefined);
}

function write(protocol: Protocol, offloads: boolean, frames: Buffer[]): void {
  const chosen = frames.filter((frame) => protocolOf(frame) === protocol);
  const vectors: VxlanVectors = {
    provenance: {
      source: 'kernel vxlan device, captured at the receiving underlay interface',
      kernel: `Linux ${release().replace(/[^\d.].*$/, '')} ${process.arch}`,
      command: 'node test/vectors/capture-vxlan.ts',
      recorded: new Date().toISOString().slice(0, 10),
      offloads,
    },
    frames: (protocol === 'arp' ? chosen.slice(0, 1) : chosen).map((frame) => frame.toString('hex')),
  };
  const name = `vxlan-${protocol}${offloads ? '-partial' : ''}.json`;
  writeFileSync(join(import.meta.dirname, name), `${JSON.stringify(vectors, null, 2)}\n`);
  process.stdout.write(`${name}: ${vectors.frames.length} frames\n`);
}

/** Role of a child: one connection, read to its end, then an answer. */
async function serveTcp(): Promise<void> {
  const { createServer } = await import('node:net');
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.resume().once('end', () => socket.end('received'));
  });
  server.listen(7000, right.address, () => process.stdout.write('listening\n'));
}

/** Role of a child: a short write, then one larger than the MTU, then the end. */
async function sendTcp(): Promise<void> {
  const { connect } = await import('node:net');
  const socket = connect(7000, right.address);
  await once(socket, 'connect');
  socket.setNoDelay(true);
  await new Promise<void>((resolve, reject) => {
    socket.write('odd', (error) => (error ? reject(error) : resolve()));
  });
  socket.end(Uint8Array.from({ length: 2_501 }, (_, at) => at & 0xff));
  socket.resume();
  await once(socket, 'close');
}

/** Role of a child: datagrams to a port without a socket (the first is answered by port unreachable), the last one being the sentinel. */
async function sendUdp(): Promise<void> {
  const { createSocket } = await import('node:dgram');
  const socket = createSocket('udp4');
  const send = (length: number, port: number): Promise<void> =>
    new Promise((resolve, reject) => {
      const payload = Uint8Array.from({ length }, (_, at) => (at * 7) & 0xff);
      socket.send(payload, port, right.address, (error) => (error ? reject(error) : resolve()));
    });
  for (const length of [12, 0, 1, 33, 1422, 3_001]) await send(length, 9);
  await send(4, SENTINEL_PORT);
  socket.close();
}

const [role, offloads] = process.argv.slice(2);
switch (role) {
  case undefined:
    for (const each of ['off', 'on'])
      execFileSync('unshare', [...PRIVATE, process.execPath, script, 'capture', each], { stdio: 'inherit' });
    break;
  case 'capture': {
    const on = offloads === 'on';
    const frames = await capture(on);
    const protocols: Protocol[] = on ? ['udp', 'tcp'] : ['arp', 'icmp', 'udp', 'tcp'];
    for (const protocol of protocols) write(protocol, on, frames);
    break;
  }
  case 'tcp-server':
    await serveTcp();
    break;
  case 'tcp-client':
    await sendTcp();
    break;
  case 'udp':
    await sendUdp();
    break;
  default:
    throw new Error(`Cannot start as "${role}": run it without arguments`);
}
