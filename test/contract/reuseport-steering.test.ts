// The steering of receive sockets on a real kernel: by the outer source port, probe frames to the first.
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';

import { Arena } from '../../agent/linux/arena.ts';
import { libc } from '../../agent/linux/libc.ts';
import { steerBySourcePort } from '../../agent/linux/reuseport-steering.ts';
import { openReceiveSocket, openSendSockets } from '../../agent/linux/udp-socket.ts';
import { ipv4 } from '../../proto/address.ts';
import { ETHERTYPE_IPV4, ETHERTYPE_PROBE } from '../../proto/ethernet.ts';
import { enterFreshNamespace } from './network-namespaces.ts';

const LOOPBACK = ipv4(0x7f00_0001);
const PORT = 6784;
const MSG_DONTWAIT = 0x40;
const ETHERTYPE_AT = 20;
const region = new Arena(1).allocate(128);
const sockets: number[] = [];

before(() => enterFreshNamespace());
after(() => {
  for (const fd of sockets) libc.close(fd);
});

/** VXLAN and Ethernet headers of zeros but for the EtherType, then `mark`. */
function frame(etherType: number, mark: number): Uint8Array {
  const bytes = Buffer.alloc(24);
  bytes.writeUInt16BE(etherType, ETHERTYPE_AT);
  bytes.writeUInt16BE(mark, 22);
  return bytes;
}

/** Sends each payload from a port of its own; returns socket index by source port. */
async function deliver(ports: readonly number[], payload: Uint8Array): Promise<ReadonlyMap<number, number>> {
  const got = new Map<number, number>();
  for (const port of ports) {
    const sender = createSocket('udp4').bind(port, '127.0.0.1');
    await once(sender, 'listening');
    await new Promise((sent) => {
      sender.send(payload, PORT, '127.0.0.1', sent);
    });
    const index = sockets.findIndex(
      (fd) => libc.recv(fd, region.address, region.byteLength, MSG_DONTWAIT) >= 0,
    );
    got.set(port, index);
    sender.close();
  }
  return got;
}

const PORTS = Array.from({ length: 40 }, (_, index) => 33_000 + index * 97);

test('steerBySourcePort: a port meets one socket, the remainder of its division; probes and short datagrams the first', async () => {
  for (const count of [2, 4, 7, 8]) {
    while (sockets.length < count) sockets.push(openReceiveSocket({ address: LOOPBACK, port: PORT }));
    steerBySourcePort(sockets[0] ?? -1, count);
    const packets = await deliver(PORTS, frame(ETHERTYPE_IPV4, 1));
    assert.deepEqual(
      [...packets],
      PORTS.map((port) => [port, port % count]),
      `${count} sockets`,
    );
    const probes = await deliver(PORTS.slice(0, 8), frame(ETHERTYPE_PROBE, 2));
    assert.deepEqual([...new Set(probes.values())], [0]);
    const short = await deliver(PORTS.slice(0, 8), frame(ETHERTYPE_IPV4, 3).subarray(0, 21));
    assert.deepEqual([...new Set(short.values())], [0]);
  }
});

test('steerBySourcePort: a program takes the place of the one before', async () => {
  steerBySourcePort(sockets[3] ?? -1, 1);
  assert.deepEqual([...new Set((await deliver(PORTS, frame(ETHERTYPE_IPV4, 4))).values())], [0]);
  steerBySourcePort(sockets[0] ?? -1, 8);
  assert.equal(new Set((await deliver(PORTS, frame(ETHERTYPE_IPV4, 5))).values()).size, 8);
});

test('openSendSockets: ports that differ modulo their number, so that each of 2, 4 and 8 workers of a peer gets as many', () => {
  const send = openSendSockets({ address: LOOPBACK, count: 8 });
  const ports = send.map((fd) => {
    region.view.setInt32(16, 16, true);
    assert.equal(libc.getsockname(fd, region.address, region.address + 16), 0);
    return region.view.getUint16(2);
  });
  for (const fd of send) libc.close(fd);
  assert.equal(new Set(ports.map((port) => port % 8)).size, 8, ports.join());
});

/** What a socket may hold beside its buffers; a namespace has its own from Linux 6.8 on, and before none that can be set. */
const OPTION_MEMORY = '/proc/sys/net/core/optmem_max';

test('openSendSockets: when the kernel refuses the socket filter, no descriptor is left open', (t) => {
  if (!existsSync(OPTION_MEMORY)) {
    t.skip(`this kernel has no ${OPTION_MEMORY} in a namespace`);
    return;
  }
  const before = readFileSync(OPTION_MEMORY, 'utf8');
  writeFileSync(OPTION_MEMORY, '0');
  t.after(() => writeFileSync(OPTION_MEMORY, before));
  const open = readdirSync('/proc/self/fd').length;
  assert.throws(() => openSendSockets({ address: LOOPBACK, count: 8 }), { code: 'ENOMEM' });
  assert.equal(readdirSync('/proc/self/fd').length, open);
});
