// Random VXLAN datagrams with structure: mostly right frames of every kind that the agent sees, each field wrong now and then, and some of
// them damaged afterwards. Arrays of bytes, big-endian, without any code of proto/.
import { randomInt } from '../support/random.ts';
import { slowSum } from './slow-parser.ts';

type Random = () => number;
type Bytes = number[];

const be = (value: number, bytes: number): Bytes =>
  Array.from({ length: bytes }, (_, at) => Math.floor(value / 2 ** (8 * (bytes - 1 - at))) % 256);
const anyBytes = (random: Random, length: number): Bytes =>
  Array.from({ length }, () => randomInt(random, 256));
const oneOf = <T>(random: Random, choices: readonly T[]): T => choices[randomInt(random, choices.length)]!; // !: not empty
const chance = (random: Random, oneIn: number): boolean => randomInt(random, oneIn) === 0;
/** The right value, or once in a while any other. */
const mostly = (random: Random, right: number, bytes: number): number =>
  chance(random, 25) ? randomInt(random, 2 ** (8 * bytes)) : right;

const payload = (random: Random): Bytes =>
  anyBytes(random, randomInt(random, chance(random, 40) ? 1400 : 40));

/** Stores the checksum of `bytes` and `pseudo` at `offset`: mostly right, sometimes the pseudo header's sum only, sometimes anything. */
function withChecksum(
  random: Random,
  bytes: Bytes,
  { offset, pseudo }: { offset: number; pseudo: Bytes },
): Bytes {
  const right = 65_535 - slowSum([...pseudo, ...bytes]);
  const checksum = oneOf(random, [right, right, right, slowSum(pseudo), randomInt(random, 65_536)]);
  bytes.splice(offset, 2, ...be(checksum, 2));
  return bytes;
}

const pseudoHeader = (addresses: Bytes, protocol: number, length: number): Bytes => [
  ...addresses,
  0,
  protocol,
  ...be(length, 2),
];

function tcp(random: Random, addresses: Bytes): Bytes {
  const words = oneOf(random, [0, 0, 3, 5, 10]);
  const options = Array.from({ length: words }, () =>
    oneOf(random, [
      [1, 1, 1, 1],
      [2, 4, 5, 180],
      [1, 3, 3, 7],
      [0, 0, 0, 0],
      [4, 2, 1, 1],
      anyBytes(random, 4),
    ]),
  ).flat();
  const offset = chance(random, 25) ? randomInt(random, 16) : 5 + words;
  const start = [...anyBytes(random, 12), offset * 16 + randomInt(random, 16), ...anyBytes(random, 3), 0, 0];
  const segment = [...start, ...anyBytes(random, 2), ...options, ...payload(random)];
  return withChecksum(random, segment, { offset: 16, pseudo: pseudoHeader(addresses, 6, segment.length) });
}

function udp(random: Random, addresses: Bytes): Bytes {
  const data = payload(random);
  const length = chance(random, 25) ? randomInt(random, data.length + 16) : data.length + 8;
  // Not the tunnel port: what is inside a pod's own datagrams is not ours to read.
  const ports = [...anyBytes(random, 2), 0, randomInt(random, 256)];
  const datagram = [...ports, ...be(length, 2), 0, 0, ...data];
  return withChecksum(random, datagram, { offset: 6, pseudo: pseudoHeader(addresses, 17, datagram.length) });
}

function icmp(random: Random): Bytes {
  const type = oneOf(random, [0, 8, 8, 3, 3, 11, 5, 12, 13, 255]);
  const code = type === 3 ? randomInt(random, 16) : mostly(random, 0, 1);
  const rest = type === 3 ? [mostly(random, 0, 1), ...anyBytes(random, 3)] : anyBytes(random, 4);
  return withChecksum(random, [type, code, 0, 0, ...rest, ...payload(random)], { offset: 2, pseudo: [] });
}

function ipv4(random: Random): Bytes {
  const addresses = [
    ...be(0x0a200000 + randomInt(random, 2 ** 20), 4),
    ...be(0x0a200000 + randomInt(random, 2 ** 20), 4),
  ];
  const protocol = oneOf(random, [1, 6, 6, 17, 17, randomInt(random, 256)]);
  const inner = transport(random, protocol, addresses);
  const options = anyBytes(random, 4 * (chance(random, 8) ? randomInt(random, 11) : 0));
  const header = [
    mostly(random, 0x45 + options.length / 4, 1),
    randomInt(random, 256),
    ...be(mostly(random, 20 + options.length + inner.length, 2), 2),
    ...anyBytes(random, 2),
    ...be(oneOf(random, [0, 0x4000, 0x4000, 0x4000, 0x2000, randomInt(random, 65_536)]), 2),
    randomInt(random, 256),
    protocol,
    0,
    0,
    ...addresses,
    ...options,
  ];
  header.splice(10, 2, ...be(mostly(random, 65_535 - slowSum(header), 2), 2));
  return [...header, ...inner];
}

function transport(random: Random, protocol: number, addresses: Bytes): Bytes {
  if (chance(random, 25)) return payload(random);
  switch (protocol) {
    case 1:
      return icmp(random);
    case 6:
      return tcp(random, addresses);
    case 17:
      return udp(random, addresses);
    default:
      return payload(random);
  }
}

function probe(random: Random): Bytes {
  const magic = be(mostly(random, 0x57505242, 4), 4);
  const rest = [
    mostly(random, 1, 1),
    mostly(random, 1 + randomInt(random, 2), 1),
    ...be(oneOf(random, [0, 0, 0, randomInt(random, 65_536)]), 2),
  ];
  return [...magic, ...rest, ...anyBytes(random, 12), ...payload(random)];
}

function etherPayload(random: Random, type: number): Bytes {
  if (type === 0x0800) return ipv4(random);
  return type === 0x88b5 ? probe(random) : payload(random);
}

/** Changes some bytes, cuts the end off, or adds to it. */
function damaged(random: Random, bytes: Bytes): Bytes {
  switch (randomInt(random, 4)) {
    case 0:
      for (let count = 1 + randomInt(random, 3); count > 0; count -= 1)
        bytes[randomInt(random, Math.min(bytes.length, 100))] = randomInt(random, 256);
      return bytes;
    case 1:
      return bytes.slice(0, randomInt(random, Math.min(bytes.length, 90)));
    case 2:
      return bytes.slice(0, bytes.length - randomInt(random, 4));
    default:
      return [...bytes, ...anyBytes(random, randomInt(random, 20))];
  }
}

export function randomDatagram(random: Random): Bytes {
  const type = oneOf(random, [
    0x0800,
    0x0800,
    0x0800,
    0x0800,
    0x0800,
    0x0800,
    0x88b5,
    0x0806,
    randomInt(random, 65_536),
  ]);
  const flags = be(mostly(random, 0x0800_0000, 4), 4);
  const vxlan = [...flags, ...anyBytes(random, 3), mostly(random, 0, 1)];
  const frame = [...vxlan, ...anyBytes(random, 12), ...be(type, 2), ...etherPayload(random, type)];
  return chance(random, 4) ? damaged(random, frame) : frame;
}
