// Netlink decoders against what no kernel sends: cut short, with a bit flipped, random.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { decodePodKey } from '../../agent/control/node/pod-guard.ts';
import { decodeAcknowledgement, decodeAttributes, decodeMessages } from '../../proto/netlink.ts';
import { decodeCounter, decodeGeneration, decodeSetElements } from '../../proto/nfnetlink.ts';
import { decodeNftEvent } from '../../proto/nfnetlink-event.ts';
import { decodeInterfaceSettings, decodeLinkHead } from '../../proto/rtnetlink-event.ts';
import { decodeLink } from '../../proto/rtnetlink-link.ts';
import { decodeAddress, decodeNeighbour, decodeRoute } from '../../proto/rtnetlink-route.ts';
import { decodeSourceRule } from '../../proto/rtnetlink-rule.ts';
import { seededRandom, testSeed } from '../support/random.ts';
import { CAPTURES, poisoned } from './netlink-captures.ts';

describe('decoders', () => {
  const decoders: Readonly<Record<string, (bytes: Uint8Array) => unknown>> = {
    decodeMessages: (bytes) => {
      const messages = decodeMessages(bytes);
      if (messages.ok) for (const message of messages.value) decodeAcknowledgement(message);
    },
    decodeAttributes,
    decodeLink,
    decodeAddress,
    decodeRoute,
    decodeNeighbour,
    decodeSourceRule,
    decodeSetElements,
    decodeGeneration,
    decodeCounter,
    decodePodKey,
    decodeLinkHead,
    decodeInterfaceSettings,
    decodeNftEvent: (bytes) => [0x0a03, 0x0a0f].map((type) => decodeNftEvent(type, bytes)),
  };
  const inputs = Object.entries(CAPTURES);

  it('never throw on any truncation of what a kernel sent', () => {
    for (const [, bytes] of inputs) {
      for (let length = 0; length <= bytes.length; length += 1) {
        const cut = poisoned(bytes.subarray(0, length));
        for (const decode of Object.values(decoders)) decode(cut);
      }
    }
  });

  it('never throw on any single-bit flip of what a kernel sent', () => {
    for (const [, bytes] of inputs) {
      const copy = poisoned(bytes);
      for (let bit = 0; bit < bytes.length * 8; bit += 1) {
        const mask = 1 << (bit & 7);
        copy[bit >> 3]! ^= mask; // !: within the bytes
        for (const decode of Object.values(decoders)) decode(copy);
        copy[bit >> 3]! ^= mask; // !: within the bytes
      }
    }
  });

  it('never throw on random bytes, and refuse what is shorter than the fixed header', () => {
    const seed = testSeed();
    const random = seededRandom(seed);
    for (let round = 0; round < 2000; round += 1) {
      const bytes = Uint8Array.from({ length: Math.floor(random() * 80) }, () => Math.floor(random() * 256));
      for (const [name, decode] of Object.entries(decoders)) {
        assert.doesNotThrow(() => decode(bytes), `${name}, seed ${seed}`);
      }
    }
    for (const decode of [
      decodeLink,
      decodeAddress,
      decodeRoute,
      decodeNeighbour,
      decodeSourceRule,
      decodeSetElements,
      decodeGeneration,
      decodeCounter,
      decodeLinkHead,
      decodeInterfaceSettings,
      (bytes: Uint8Array) => decodeNftEvent(0x0a03, bytes),
    ]) {
      const result = decode(new Uint8Array(3));
      assert.equal(result.ok ? '' : result.reason, 'truncated');
    }
  });
});
