// The place of the TUN levers: a TUN device whose other side is this process, and a pod whose packets end at once.
//
//   this process ══ TUN 10.9.0.1/24  ── forwarding ── host0 10.8.0.1/24 ═ veth ═ pod0, without an address (drops what it gets)
import { Arena } from '../../agent/linux/arena.ts';
import { check, libc } from '../../agent/linux/libc.ts';
import { ENCLOSURE, runCommand, runScript } from '../../test/lab/command.ts';

const O_RDWR_NONBLOCK = 0o4002;
const TUNSETIFF = 0x400454ca;
const TUNSETOFFLOAD = 0x400454d0;
const TUN_F_ALL = 0x6f; // CSUM, TSO4, TSO6, USO4, USO6; no TSO_ECN
const IFF_TUN_NO_PI_VNET_HDR = 0x5001;
export const IFF_TAP_NO_PI_VNET_HDR = 0x5002;
export const IFF_MULTI_QUEUE = 0x0100;
export const IFF_NAPI = 0x0010;
export const IFF_NAPI_FRAGS = 0x0020;
export const QUEUE = 8192;
export const POD_MAC = '02:00:00:00:08:02';
export const TUN_ADDRESS = '10.9.0.1';
/** Behind the TUN: what is sent there is read by this process. */
export const FAR_ADDRESS = '10.9.0.2';
export const POD_ADDRESS = '10.8.0.2';

/** Opens and brings up a TUN (or, by `mode`, TAP) device of these IFF_* flags, with all offloads. */
export async function openTunWith(options: {
  name: string;
  flags: number;
  address: string;
  mode?: number;
}): Promise<number> {
  const memory = new Arena(1);
  const path = memory.allocate(32);
  path.bytes.set(new TextEncoder().encode('/dev/net/tun'));
  const fd = check(libc.open(path.address, O_RDWR_NONBLOCK, 0), () => 'open /dev/net/tun');
  const request = memory.allocate(40);
  request.bytes.set(new TextEncoder().encode(options.name));
  request.view.setInt16(16, (options.mode ?? IFF_TUN_NO_PI_VNET_HDR) | options.flags, true);
  check(libc.ioctl(fd, TUNSETIFF, request.address), () => `attach to "${options.name}"`);
  check(libc.ioctl(fd, TUNSETOFFLOAD, TUN_F_ALL), () => 'set offloads');
  await runScript(ENCLOSURE, [
    `sysctl -qw net.ipv6.conf.${options.name}.disable_ipv6=1`,
    `ip link set ${options.name} mtu 1450 txqueuelen ${QUEUE} up`,
    `ip address replace ${options.address}/24 dev ${options.name}`,
  ]);
  return fd;
}

let podIsThere = false;

/** Makes the pod; once. */
export async function makePod(): Promise<void> {
  if (podIsThere) return;
  podIsThere = true;
  await runScript(ENCLOSURE, [
    'sysctl -qw net.ipv4.ip_forward=1',
    'ip netns add pod',
    `ip link add host0 type veth peer name pod0 address ${POD_MAC} netns pod`,
    'sysctl -qw net.ipv6.conf.host0.disable_ipv6=1',
    'ip address add 10.8.0.1/24 dev host0',
    'ip link set host0 up',
    'ip netns exec pod sysctl -qw net.ipv6.conf.all.disable_ipv6=1',
    'ip netns exec pod ip link set pod0 up',
    `ip neighbour replace ${POD_ADDRESS} lladdr ${POD_MAC} dev host0 nud permanent`,
  ]);
}

/** Packets that the pod got; a packet with GSO counts once. */
export async function podPackets(): Promise<number> {
  const text = await runCommand(ENCLOSURE, ['ip', '-n', 'pod', '-j', '-s', 'link', 'show', 'pod0']);
  const [link] = JSON.parse(text) as { stats64: { rx: { packets: number } } }[]; // as: iproute2's documented output
  return link?.stats64.rx.packets ?? 0;
}
