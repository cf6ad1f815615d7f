// The TUN device (Documentation/networking/tuntap.rst, drivers/net/tun.c): opened with virtio_net_hdr and with as many offloads as
// the kernel takes. The descriptor is the device's life: it goes away when the last holder closes it. A device that somebody deletes
// leaves the descriptor behind, and attachTun makes the device again on it.
import { OperationError, codeOf } from '../operation-error.ts';
import { Arena } from './arena.ts';
import { check, libc } from './libc.ts';

const O_RDWR = 2;
const O_NONBLOCK = 0o4000;
const O_CLOEXEC = 0o2000000;
const TUNSETIFF = 0x400454ca;
const TUNSETOFFLOAD = 0x400454d0;
const TUNSETQUEUE = 0x400454d9;
const IFF_TUN = 0x0001;
const IFF_MULTI_QUEUE = 0x0100;
const IFF_ATTACH_QUEUE = 0x0200;
const IFF_DETACH_QUEUE = 0x0400;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
const IFREQ_BYTES = 40;
const IFREQ_FLAGS = 16;

/** TUN_F_* of linux/if_tun.h. */
export const TUN_F_CSUM = 0x01;
export const TUN_F_TSO4 = 0x02;
export const TUN_F_TSO6 = 0x04;
export const TUN_F_USO4 = 0x20;
export const TUN_F_USO6 = 0x40;

/** What is asked for, best first: the kernel refuses the whole set when it lacks one (USO came with 6.2). */
const OFFLOAD_SETS = [
  TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_USO4 | TUN_F_USO6,
  TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6,
  TUN_F_CSUM,
  0,
];

export interface Tun {
  readonly fd: number;
  /** TUN_F_* bits that the kernel took. */
  readonly offloads: number;
}

/**
 * Opens (or creates) the device, or one more queue of it: the kernel spreads flows over the queues, and sends what answers a flow that was
 * written to a queue out by the same one. Throws OperationError: TUN_MISSING (no /dev/net/tun), TUN_DENIED (not allowed to open it),
 * TUN_BUSY (a device of that name is in other hands), else the errno's name.
 */
export function openTun(options: { name: string }): Tun {
  const fd = openTunQueue(options);
  try {
    return { fd, offloads: attachTun(new Arena(1), fd, options.name) };
  } catch (error) {
    libc.close(fd);
    throw explained(error, options.name);
  }
}

/** A descriptor that is no queue of the device yet: attachTun makes it one. Throws as openTun. */
export function openTunQueue({ name }: { name: string }): number {
  const path = new Arena(1).allocate(32);
  path.bytes.set(new TextEncoder().encode('/dev/net/tun'));
  try {
    const fd = libc.open(path.address, O_RDWR | O_NONBLOCK | O_CLOEXEC, 0);
    return check(fd, () => `open TUN "${name}" by /dev/net/tun`);
  } catch (error) {
    throw explained(error, name);
  }
}

/** Makes the device, which is down at first, for a descriptor that has none; returns its offloads. Throws OperationError (errno's name). */
export function attachTun(arena: Arena, fd: number, name: string): number {
  const request = arena.allocate(IFREQ_BYTES);
  request.bytes.set(new TextEncoder().encode(name));
  request.view.setInt16(IFREQ_FLAGS, IFF_TUN | IFF_MULTI_QUEUE | IFF_NO_PI | IFF_VNET_HDR, true);
  check(libc.ioctl(fd, TUNSETIFF, request.address), () => `attach to TUN "${name}"`);
  return setOffloads(fd);
}

/** As many as the kernel takes, for an attached descriptor; returns them. */
export const setOffloads = (fd: number): number =>
  OFFLOAD_SETS.find((set) => libc.ioctl(fd, TUNSETOFFLOAD, set) >= 0) ?? 0;

/** Takes a queue out of use, with all that waits in it, or back into use; one that is so already stays so. */
export function useTunQueue(fd: number, isUsed: boolean): void {
  const request = new Arena(1).allocate(IFREQ_BYTES);
  request.view.setInt16(IFREQ_FLAGS, isUsed ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE, true);
  libc.ioctl(fd, TUNSETQUEUE, request.address);
}

function explained(error: unknown, name: string): unknown {
  switch (codeOf(error)) {
    case 'ENOENT':
    case 'ENODEV':
      return new OperationError(
        `Cannot open TUN "${name}": /dev/net/tun is missing; load the kernel module (modprobe tun) and mount /dev/net/tun into the container`,
        { code: 'TUN_MISSING', cause: error },
      );
    case 'EPERM':
    case 'EACCES':
      return new OperationError(
        `Cannot open TUN "${name}": permission denied; the agent needs CAP_NET_ADMIN and a device rule for /dev/net/tun (runc 1.2.0 to 1.2.3 refuse it to unprivileged containers)`,
        { code: 'TUN_DENIED', cause: error },
      );
    case 'EBUSY':
    case 'EINVAL':
      return new OperationError(
        `Cannot attach to "${name}": an interface of that name exists and is not a multi-queue TUN of ours; remove it (ip link delete ${name}) or stop the program that owns it`,
        { code: 'TUN_BUSY', cause: error },
      );
    default:
      return error;
  }
}
