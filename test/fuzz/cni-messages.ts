// Messages to the CNI socket, mutated, a handler that does and fails everything that one may, and the shim's view of an answer.
import assert from 'node:assert/strict';

import type { CniHandler } from '../../agent/control/cni/cni-server.ts';
import { OperationError } from '../../agent/operation-error.ts';
import { ipv4, mac } from '../../proto/address.ts';
import { decodeResponse, encodeRequest } from '../../proto/shim-codec.ts';
import { ByteMutator, oneOf } from './mutation.ts';

const COMMANDS = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION'];
const NETWORK = {
  cniVersion: '1.1.0',
  name: 'weft',
  type: 'weft',
  prevResult: { interfaces: [{ name: 'eth0' }], ips: [{ address: '10.32.0.5/32' }] },
  'cni.dev/valid-attachments': [],
};
const messages = COMMANDS.map((command) =>
  encodeRequest({
    descriptors: command === 'ADD' || command === 'CHECK' ? 2 : 0,
    environment: Object.entries({
      CNI_COMMAND: command,
      CNI_CONTAINERID: 'c0ffee',
      CNI_IFNAME: 'eth0',
      CNI_NETNS: '/run/netns/x',
      CNI_PATH: '/opt/cni/bin',
    }),
    stdin: new TextEncoder().encode(JSON.stringify(NETWORK)),
  }),
);
export const messageMutator: ByteMutator = new ByteMutator(messages, [
  '"',
  '{',
  '\0',
  '1.0.0',
  '0.3.1',
  'DEL',
  'ADD',
  'null',
  'CNI_',
  new Uint8Array([0, 0, 1, 0]),
]);

/** Does, and fails, everything that a handler may. */
export function createHandler(random: () => number): CniHandler {
  const codes = ['NOT_READY', 'NO_BLOCK', 'ALREADY_ATTACHED', 'EIO', 'UNKNOWN_ATTACHMENT'];
  const mayFail = async (): Promise<void> => {
    if (random() < 0.2) throw new OperationError('Cannot do it', { code: oneOf(random, codes) });
  };
  return {
    add: async ({ interfaceName, netns }) => {
      await mayFail();
      return {
        host: { name: 'vethwe0', mac: mac(2) },
        pod: { name: interfaceName, mac: mac(4), sandbox: netns },
        mtu: 1450,
        address: ipv4(0x0a200005),
        gateway: ipv4(0x0a200001),
      };
    },
    del: async () => {
      await mayFail();
      return undefined;
    },
    check: async () => {
      await mayFail();
      return random() < 0.5 ? [] : ['a route is gone'];
    },
    stale: () => (random() < 0.5 ? [] : [{ containerId: 'c9', interfaceName: 'eth0' }]),
    blocked: () => (random() < 0.5 ? undefined : 'no block yet'),
    limited: () => (random() < 0.5 ? undefined : 'no peer answers'),
  };
}

/** The status, when the shim can make something of the answer. */
export function readAnswer(bytes: Uint8Array): number {
  const response = decodeResponse(bytes);
  assert.ok(response.ok, 'the answer is no response');
  const { status, json } = response.value;
  if (json === '') {
    assert.equal(status, 0, 'a failure has words');
    return status;
  }
  const said = JSON.parse(json) as { cniVersion?: unknown; code?: unknown; msg?: unknown }; // as: what is looked at
  assert.ok(typeof said.cniVersion === 'string');
  assert.equal(status === 1, Number.isSafeInteger(said.code) && typeof said.msg === 'string');
  return status;
}
