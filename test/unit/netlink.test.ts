// Netlink codecs against what a kernel sent, and against everything it could not have sent.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { type PodElement, decodePodKey, encodePodKey } from '../../agent/control/node/pod-guard.ts';
import { mac } from '../../proto/address.ts';
import { parseCidr, parseIpv4, parseMac } from '../../proto/address-text.ts';
import {
  type Attribute,
  decodeAcknowledgement,
  decodeAttributes,
  decodeMessages,
  encodeMessage,
  MESSAGE_HEADER_BYTES,
  nest,
  raw,
  text,
  u32,
  u32be,
  u8,
} from '../../proto/netlink.ts';
import {
  addSetElements,
  decodeCounter,
  decodeGeneration,
  decodeSetElements,
  deleteSetElements,
  dumpCounters,
  NFPROTO_BRIDGE,
  NFPROTO_INET,
} from '../../proto/nfnetlink.ts';
import { changeLink, createBridge, createVeth, decodeLink, type Link } from '../../proto/rtnetlink-link.ts';
import {
  addAddress,
  addRoute,
  decodeAddress,
  decodeNeighbour,
  decodeRoute,
  replaceNeighbour,
  type Route,
} from '../../proto/rtnetlink-route.ts';
import { addSourceRule, decodeSourceRule } from '../../proto/rtnetlink-rule.ts';
import { seededRandom, testSeed } from '../support/random.ts';
import { CAPTURES, type CaptureName, poisoned } from './netlink-captures.ts';

function valueOf<T>(
  result: { readonly ok: true; readonly value: T } | { readonly ok: false; readonly reason: string },
): T {
  assert.ok(result.ok, result.ok ? '' : result.reason);
  return result.value;
}

const payloadOf = (message: Uint8Array): Uint8Array => message.subarray(MESSAGE_HEADER_BYTES);

describe('decodeLink', () => {
  it('reads the bridge', () => {
    const expected: Link = {
      index: 5,
      name: 'weave',
      up: true,
      running: true,
      mtu: 1400,
      txQueueLength: 1000,
      address: parseMac('02:57:ac:1f:00:0b'),
      master: undefined,
      peerIndex: undefined,
      alias: undefined,
      kind: 'bridge',
      tunType: undefined,
      port: undefined,
      bridge: { spanningTree: 0 },
      inet: { forwarding: 1, accept_redirects: 0, send_redirects: 0, rp_filter: 0, accept_local: 0 },
      ipv6Addresses: false,
    };
    assert.deepEqual(valueOf(decodeLink(poisoned(CAPTURES.bridgeLink))), expected);
  });

  it('reads a TUN, which has no Ethernet address', () => {
    const link = valueOf(decodeLink(poisoned(CAPTURES.tunLink)));
    assert.deepEqual(
      [link.name, link.kind, link.tunType, link.address, link.txQueueLength, link.inet.accept_local],
      ['weft0', 'tun', 1, undefined, 10_000, 1],
    );
  });

  it("reads a bridge's port with its alias and hairpin mode", () => {
    const link = valueOf(decodeLink(poisoned(CAPTURES.portLink)));
    assert.deepEqual(
      [link.name, link.kind, link.master, link.port?.hairpin, link.alias, link.peerIndex],
      ['vethwe00a200002', 'veth', 5, 1, 'weft:c0ffeea200002:eth0:10.32.0.2', 2],
    );
  });
});

describe('decodeAddress, decodeRoute, decodeNeighbour', () => {
  it("read the bridge's address", () => {
    assert.deepEqual(valueOf(decodeAddress(poisoned(CAPTURES.address))), {
      index: 5,
      address: parseIpv4('10.32.0.1'),
      prefixLength: 32,
      scope: 0,
    });
  });

  it('read a default route and one of a block', () => {
    const defaultRoute = valueOf(decodeRoute(poisoned(CAPTURES.defaultRoute)));
    assert.deepEqual(
      [defaultRoute.destination, defaultRoute.gateway, defaultRoute.index, defaultRoute.table],
      [parseCidr('0.0.0.0/0'), parseIpv4('172.31.0.1'), 3, 254],
    );
    const block: Route = {
      destination: parseCidr('10.32.0.0/26'),
      table: 254,
      protocol: 0x57,
      scope: 253,
      type: 1,
      index: 5,
      gateway: undefined,
      preferredSource: parseIpv4('10.32.0.1'),
      priority: 0,
      onLink: false,
    };
    assert.deepEqual(valueOf(decodeRoute(poisoned(CAPTURES.blockRoute))), block);
    // What we ask for is what the kernel shows.
    assert.deepEqual(valueOf(decodeRoute(payloadOf(addRoute(block)))), block);
  });

  it('read what the encoders write', () => {
    const route: Route = {
      destination: parseCidr('0.0.0.0/0'),
      table: 300,
      protocol: 3,
      scope: 0,
      type: 1,
      index: 9,
      gateway: parseIpv4('192.0.2.1'),
      preferredSource: parseIpv4('192.0.2.7'),
      priority: 77,
      onLink: true,
    };
    assert.deepEqual(valueOf(decodeRoute(poisoned(payloadOf(addRoute(route))))), route);
    const address = { index: 4, address: parseIpv4('10.32.0.9'), prefixLength: 32, scope: 253 };
    assert.deepEqual(valueOf(decodeAddress(poisoned(payloadOf(addAddress(address))))), address);
    const neighbour = {
      index: 4,
      address: parseIpv4('10.32.0.9'),
      mac: parseMac('fe:dc:ba:98:76:54'),
      permanent: true,
    };
    assert.deepEqual(valueOf(decodeNeighbour(poisoned(payloadOf(replaceNeighbour(neighbour))))), neighbour);
  });

  it('read a rule for packets from one address, and no other kind of rule', () => {
    const rule = { source: parseIpv4('10.32.0.9'), table: 0x0a200009 };
    const payload = payloadOf(addSourceRule(rule));
    assert.deepEqual(valueOf(decodeSourceRule(poisoned(payload))), rule);
    for (const [at, value] of [
      [0, 10], // IPv6
      [1, 8], // for a destination
      [2, 24], // from a network
      [7, 6], // blackhole
    ] as const) {
      const other = payload.slice();
      other[at] = value;
      const result = decodeSourceRule(poisoned(other));
      assert.equal(result.ok ? '' : result.reason, 'other');
    }
  });

  it('read a neighbour that the kernel learned', () => {
    const neighbour = valueOf(decodeNeighbour(poisoned(CAPTURES.neighbour)));
    assert.deepEqual(
      [neighbour.index, neighbour.address, neighbour.permanent],
      [5, parseIpv4('10.32.0.2'), false],
    );
  });

  it('refuse IPv6', () => {
    for (const [decode, message] of [
      [decodeAddress, CAPTURES.address],
      [decodeRoute, CAPTURES.blockRoute],
      [decodeNeighbour, CAPTURES.neighbour],
    ] as const) {
      const bytes = message.slice();
      bytes[0] = 10;
      const result = decode(bytes);
      assert.equal(result.ok ? '' : result.reason, 'not_ipv4');
    }
  });
});

describe('nf_tables', () => {
  const element: PodElement = {
    hostInterface: 'vethwe00a200002',
    mac: parseMac('0e:33:01:ba:50:c2'),
    address: parseIpv4('10.32.0.2'),
  };

  it("decodeSetElements reads the pods' set, whose key encodePodKey makes", () => {
    const keys = valueOf(decodeSetElements(poisoned(CAPTURES.setElements)));
    assert.deepEqual(keys.map(decodePodKey), [element]);
    assert.deepEqual([...keys[0]!], [...encodePodKey(element)]); // !: one key, as above
  });

  it('decodePodKey refuses a key of another length', () => {
    const key = encodePodKey(element);
    assert.deepEqual(decodePodKey(poisoned(key)), element);
    for (const length of [0, 1, 27]) assert.equal(decodePodKey(key.subarray(0, length)), undefined);
    assert.equal(decodePodKey(new Uint8Array(29)), undefined);
  });

  it('a batch is three messages, of which the change asks for an acknowledgement', () => {
    const set = { family: NFPROTO_BRIDGE, table: 'weft', name: 'pods' };
    for (const [build, type] of [
      [addSetElements, 0x0a0c],
      [deleteSetElements, 0x0a0e],
    ] as const) {
      const messages = valueOf(decodeMessages(poisoned(build({ set, keys: [encodePodKey(element)] }))));
      assert.deepEqual(
        messages.map((message) => message.type),
        [16, type, 17],
      );
      assert.deepEqual(
        messages.map(({ flags }) => flags & 4),
        [0, 4, 0],
      );
      const keys = valueOf(decodeSetElements(messages[1]!.payload)); // !: three messages, as above
      assert.deepEqual(keys.map(decodePodKey), [element]);
    }
  });

  it('decodeCounter reads counts of more than 32 bits', () => {
    assert.deepEqual(valueOf(decodeCounter(poisoned(CAPTURES.counter))), {
      family: NFPROTO_BRIDGE,
      table: 'weft',
      name: 'pod_spoofed',
      packets: 7,
    });
    assert.deepEqual(valueOf(decodeCounter(poisoned(CAPTURES.largeCounter))), {
      family: NFPROTO_INET,
      table: 'weft',
      name: 'pod_to_tunnel',
      packets: 5_000_000_000,
    });
  });

  it('decodeCounter refuses an object of another type, and one without a count', () => {
    const object = (type: number, attributes: readonly Attribute[]): Uint8Array =>
      payloadOf(
        encodeMessage({
          type: 0x0a12,
          flags: 0,
          header: new Uint8Array(4),
          attributes: [text(1, 'weft'), text(2, 'name'), u32be(3, type), ...attributes],
        }),
      );
    const packets = (bytes: number): Attribute => nest(4, [raw(2, new Uint8Array(bytes))]);
    assert.equal(decodeCounter(object(1, [packets(8)])).ok, true);
    assert.deepEqual(decodeCounter(object(2, [packets(8)])), { ok: false, reason: 'not_a_counter' });
    for (const attributes of [[], [packets(7)], [nest(4, [])]]) {
      assert.deepEqual(decodeCounter(object(1, attributes)), { ok: false, reason: 'malformed' });
    }
  });

  it('dumpCounters asks for the counters of a table, whatever its family', () => {
    const [message] = valueOf(decodeMessages(dumpCounters('weft')));
    assert.equal(message?.type, 0x0a13);
    assert.deepEqual(
      [...message.payload],
      [0, 0, 0, 0, 9, 0, 1, 0, 0x77, 0x65, 0x66, 0x74, 0, 0, 0, 0, 8, 0, 3, 0, 0, 0, 0, 1],
    );
  });

  it('decodeGeneration reads a number in network order', () => {
    const message = encodeMessage({
      type: 0x0a0f,
      flags: 0,
      header: new Uint8Array(4),
      attributes: [u32be(1, 0x01020304)],
    });
    assert.equal(valueOf(decodeGeneration(payloadOf(message))), 0x01020304);
  });
});

describe('decodeAcknowledgement', () => {
  const only = (name: CaptureName): ReturnType<typeof decodeAcknowledgement> => {
    const [message] = valueOf(decodeMessages(poisoned(CAPTURES[name])));
    assert.ok(message);
    return decodeAcknowledgement(message);
  };

  it("reads the kernel's text, with and without the request between", () => {
    for (const name of ['refusedWhole', 'refusedCapped'] as const) {
      assert.deepEqual(valueOf(only(name)), { errno: 22, text: 'Invalid prefsrc address' }, name);
    }
  });

  it('reads success', () => {
    for (const name of ['acceptedWhole', 'acceptedCapped'] as const) {
      assert.deepEqual(valueOf(only(name)), { errno: 0, text: '' }, name);
    }
  });

  it('refuses other messages', () => {
    const message = { type: 16, flags: 0, sequence: 1, portId: 0, payload: new Uint8Array(40) };
    assert.deepEqual(decodeAcknowledgement(message), { ok: false, reason: 'not_an_acknowledgement' });
  });
});

describe('encodeMessage', () => {
  it('writes lengths without the padding, which is zero', () => {
    const message = encodeMessage({
      type: 0x1234,
      flags: 4,
      header: Uint8Array.of(1, 2, 3, 4),
      attributes: [u8(7, 9)],
    });
    assert.deepEqual(
      [...message],
      [28, 0, 0, 0, 0x34, 0x12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 0, 7, 0, 9, 0, 0, 0],
    );
  });

  it('nests, and reads back what it nested, for random trees', () => {
    const seed = testSeed();
    const random = seededRandom(seed);
    const tree = (depth: number): Attribute[] =>
      Array.from({ length: 1 + Math.floor(random() * 4) }, (_, type): Attribute => {
        const kind = Math.floor(random() * 5);
        if (kind === 0 && depth > 0) return nest(type + 1, tree(depth - 1));
        if (kind === 1) return u32(type + 1, Math.floor(random() * 2 ** 32));
        if (kind === 2) return text(type + 1, 'é'.repeat(Math.floor(random() * 5)));
        return raw(
          type + 1,
          Uint8Array.from({ length: Math.floor(random() * 9) }, () => Math.floor(random() * 256)),
        );
      });
    const check = (bytes: Uint8Array, wanted: readonly Attribute[]): void => {
      const attributes = valueOf(decodeAttributes(poisoned(bytes)));
      for (const { type, value } of wanted) {
        const found = attributes.bytes(type);
        assert.ok(found, `seed ${seed}`);
        if (value instanceof Uint8Array) assert.deepEqual([...found], [...value], `seed ${seed}`);
        else check(found, value);
      }
    };
    for (let round = 0; round < 300; round += 1) {
      const attributes = tree(3);
      const message = encodeMessage({ type: 1, flags: 0, header: new Uint8Array(0), attributes });
      assert.equal(message.length % 4, 0);
      check(payloadOf(message), attributes);
    }
  });
});

describe('builders of links', () => {
  it('are whole messages whose attributes say what was asked', () => {
    const bridge = createBridge({ name: 'weave', address: mac(0x0257ac1f000b), mtu: 1400 });
    const made = valueOf(decodeLink(payloadOf(bridge)));
    assert.deepEqual(
      [made.name, made.kind, made.mtu, made.address],
      ['weave', 'bridge', 1400, mac(0x0257ac1f000b)],
    );
    const change = changeLink('vethwe1', {
      up: true,
      alias: 'weft:a',
      port: { hairpin: 1 },
      inet: { forwarding: 1 },
    });
    const changed = valueOf(decodeLink(payloadOf(change)));
    assert.deepEqual(
      [changed.name, changed.up, changed.alias, changed.port?.hairpin],
      ['vethwe1', true, 'weft:a', 1],
    );
    const veth = createVeth({
      near: { name: 'vethwe1', address: mac(1), master: 5 },
      far: { name: 'eth0', address: mac(2), netnsFd: 9 },
      mtu: 1400,
    });
    assert.equal(valueOf(decodeMessages(veth)).length, 1);
    assert.equal(valueOf(decodeLink(payloadOf(veth))).master, 5);
  });
});
