// Which notifications are disturbances. Payloads as Linux 6.18 sent them (x86-64) while the shell lines of their names ran in a fresh network
// namespace; interface 5 is the bridge "weave", 7 its port "vethwe1", 3 "eth0".
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createBatch } from '../../agent/control/node/network-events.ts';
import type { ExpectedNetwork } from '../../agent/control/node/node-network.ts';
import { parseCidr, parseIpv4 } from '../../proto/address-text.ts';
import { MESSAGE_HEADER_BYTES } from '../../proto/netlink.ts';
import { decodeNftEvent } from '../../proto/nfnetlink-event.ts';
import { decodeInterfaceSettings, decodeLinkHead } from '../../proto/rtnetlink-event.ts';
import { addAddress, addRoute, type Route } from '../../proto/rtnetlink-route.ts';
import { poisoned } from './netlink-captures.ts';

const hex = (text: string): Uint8Array => poisoned(Uint8Array.from(Buffer.from(text, 'hex')));

// echo 1 >/proc/sys/net/ipv4/conf/eth0/forwarding
const SETTINGS = hex('0200000008000100030000000800020001000000');
// nft add chain inet weft c
const CHAIN = hex('0100000309000100776566740000000006000300630000000c00020000000000000000010800060000000000');
const GENERATION = hex('0000000308000100000000030800020000000966080003006e667400');
// bridge link set dev vethwe1 learning off: the bridge's own message
const PORT = hex(
  '070001000700000043100100000000000c000300766574687765310008000a000500000008000400dc050000050010000600' +
    '00000a000100763d3a5a23540000080005000600000050010c80050001000300000006000200200000000800030002000000' +
    '050004000000000005000500000000000500060000000000050007000000000005001c000000000005000800000000000500' +
    '09000100000005001b000100000005001e000100000005000a000000000005000c00000000000c000d008000763d3a5a2354' +
    '0c000e008000763d3a5a235406000f0001800000060010000000000006001100018000000600120001000000050013000000' +
    '0000050014000000000005001d000000000006001f0000000000050020000000000005002300000000000500240000000000' +
    '05002100000000000500270000000000050028000000000005002b00000000000c00150000000000000000000c001600cf05' +
    '0000000000000c00170000000000000000000500190001000000080025000002000008002600000000000800290001000000' +
    '08002a0000000000',
);

const PORT_SETTINGS_AT = 80;

const EXPECTED: ExpectedNetwork = {
  range: parseCidr('10.32.0.0/12'),
  ports: { bridge: 5, seen: new Map() },
  interfaces: new Map([
    [5, { up: true, inet: { forwarding: 1 } }],
    [4, { up: true, inet: { forwarding: 1, rp_filter: 2 } }],
    [3, { inet: { forwarding: 1 } }],
  ]),
};

const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_NEWADDR = 20;
const RTM_DELADDR = 21;
const RTM_NEWROUTE = 24;
const RTM_DELROUTE = 25;
const RTM_NEWNETCONF = 80;
const NFT_NEWCHAIN = 0x0a03;
const NFT_NEWGEN = 0x0a0f;

const message = (type: number, payload: Uint8Array, portId = 77) => ({
  type,
  flags: 0,
  sequence: 0,
  portId,
  payload,
});

function judged(type: number, payload: Uint8Array, isOwn = false) {
  const batch = createBatch(EXPECTED);
  batch.route(message(type, payload), isOwn);
  return batch.end();
}

/** struct ifinfomsg alone. */
function linkHead(family: number, index: number, up: boolean): Uint8Array {
  const bytes = new Uint8Array(16);
  bytes[0] = family;
  const view = new DataView(bytes.buffer);
  view.setInt32(4, index, true);
  view.setUint32(8, up ? 1 : 0, true);
  return bytes;
}

const route = (destination: string, protocol: number, table = 254): Uint8Array => {
  const wanted: Route = {
    destination: parseCidr(destination),
    table,
    protocol,
    scope: 253,
    type: 1,
    index: 4,
    gateway: undefined,
    preferredSource: undefined,
    priority: 0,
    onLink: false,
  };
  return addRoute(wanted).subarray(MESSAGE_HEADER_BYTES);
};
const address = (text: string, index: number): Uint8Array =>
  addAddress({ index, address: parseIpv4(text), prefixLength: 32, scope: 0 }).subarray(MESSAGE_HEADER_BYTES);

test('decoders read what the kernel sent', () => {
  assert.deepEqual(decodeInterfaceSettings(SETTINGS), {
    ok: true,
    value: { index: 3, forwarding: 1, rpFilter: undefined },
  });
  assert.deepEqual(decodeNftEvent(NFT_NEWCHAIN, CHAIN), {
    ok: true,
    value: { kind: 'object', family: 1, table: 'weft' },
  });
  assert.deepEqual(decodeNftEvent(NFT_NEWGEN, GENERATION), {
    ok: true,
    value: { kind: 'generation', pid: 2406, program: 'nft' },
  });
  assert.deepEqual(decodeLinkHead(PORT), { ok: true, value: { family: 7, index: 7, up: true } });
});

test('routes: ours, and others that overlap the range', () => {
  for (const type of [RTM_NEWROUTE, RTM_DELROUTE]) {
    assert.deepEqual(judged(type, route('10.32.0.0/12', 0x57)), { author: { portId: 77 }, rules: false });
    assert.ok(judged(type, route('10.40.0.0/16', 3)));
    assert.equal(judged(type, route('10.40.0.0/16', 3, 100)), undefined, 'another table');
    assert.equal(judged(type, route('192.0.2.0/24', 3)), undefined);
    assert.equal(judged(type, route('0.0.0.0/0', 3)), undefined, 'a default route is around every range');
    assert.equal(judged(type, route('10.32.0.0/12', 0x57), true), undefined, 'our own');
  }
});

test('addresses: on our interfaces, and in the range anywhere', () => {
  for (const type of [RTM_NEWADDR, RTM_DELADDR]) {
    assert.ok(judged(type, address('192.0.2.1', 5)));
    assert.ok(judged(type, address('10.33.0.1', 9)));
    assert.equal(judged(type, address('192.0.2.1', 9)), undefined);
    assert.equal(judged(type, address('10.32.0.1', 5), true), undefined);
  }
});

test('interfaces: ours that go down, even if only for a moment, or away', () => {
  assert.ok(judged(RTM_NEWLINK, linkHead(0, 5, false)));
  assert.equal(judged(RTM_NEWLINK, linkHead(0, 9, false)), undefined);
  assert.ok(judged(RTM_DELLINK, linkHead(0, 5, false)));
  assert.equal(judged(RTM_DELLINK, linkHead(7, 5, false)), undefined, 'the bridge lost a port');
  assert.equal(judged(RTM_DELLINK, linkHead(0, 9, false)), undefined);
});

test("a bridge's message about a port: its settings; only the last of a batch counts", () => {
  assert.ok(judged(RTM_NEWLINK, PORT), 'neither learning nor in hairpin mode');
  const right = PORT.slice();
  for (const attribute of ['05000400', '05000800']) {
    const at = Buffer.from(PORT).indexOf(Buffer.from(attribute, 'hex'), PORT_SETTINGS_AT);
    right[at + 4] = 1; // hairpin, learning
  }
  assert.equal(judged(RTM_NEWLINK, right), undefined);
  const batch = createBatch(EXPECTED);
  batch.route(message(RTM_NEWLINK, PORT), false);
  batch.route(message(RTM_NEWLINK, right), false);
  assert.equal(batch.end(), undefined);
});

test('settings: wrong ones of our interfaces', () => {
  assert.equal(judged(RTM_NEWNETCONF, SETTINGS), undefined, 'it forwards, as it should');
  const off = SETTINGS.slice();
  off[16] = 0;
  assert.ok(judged(RTM_NEWNETCONF, off));
  off[8] = 9;
  assert.equal(judged(RTM_NEWNETCONF, off), undefined, 'of another interface');
});

test('nftables: objects of our tables, by the program that the generation names', () => {
  const batch = createBatch(EXPECTED);
  batch.netfilter(message(NFT_NEWCHAIN, CHAIN), false);
  batch.netfilter(message(NFT_NEWGEN, GENERATION), false);
  assert.deepEqual(batch.end(), { author: { portId: 2406, program: 'nft' }, rules: true });
  const other = CHAIN.slice();
  other[8] = 0x78; // "xeft"
  const ofOthers = createBatch(EXPECTED);
  ofOthers.netfilter(message(NFT_NEWCHAIN, other), false);
  ofOthers.netfilter(message(NFT_NEWCHAIN, CHAIN), true);
  ofOthers.netfilter(message(NFT_NEWGEN, GENERATION), false);
  assert.equal(ofOthers.end(), undefined);
});
