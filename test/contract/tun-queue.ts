// A queue of a TUN for contract tests: what is sent here arrives in the kernel as if the data plane had written it.
import { Arena } from '../../agent/linux/arena.ts';
import { check, libc } from '../../agent/linux/libc.ts';

const O_RDWR_CLOEXEC = 2 | 0x80000;
const TUNSETIFF = 0x400454ca;
const IFF_TUN = 1;
const IFF_MULTI_QUEUE = 0x100;
const IFF_NO_PI = 0x1000;

const arena = new Arena(65_536);
const request = arena.allocate(64);
const frame = arena.allocate(2048);

export interface TunQueue {
  write(packet: Uint8Array): void;
  close(): void;
}

export function openTunQueue(name: string): TunQueue {
  const put = (text: string): void => {
    request.bytes.fill(0);
    request.bytes.set(new TextEncoder().encode(text));
  };
  put('/dev/net/tun');
  const fd = check(libc.open(request.address, O_RDWR_CLOEXEC, 0), () => 'open /dev/net/tun');
  put(name);
  request.view.setUint16(16, IFF_TUN | IFF_MULTI_QUEUE | IFF_NO_PI, true);
  check(libc.ioctl(fd, TUNSETIFF, request.address), () => `attach to TUN "${name}"`);
  return {
    write(packet) {
      frame.bytes.set(packet);
      check(libc.write(fd, frame.address, packet.length), () => 'write to the TUN');
    },
    close: () => {
      libc.close(fd);
    },
  };
}
