// The set-up script: refusals are one sentence with the remedy and change nothing; with nothing missing it is silent.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { ENCLOSURE, tryCommand } from '../lab/command.ts';

const SET_UP = fileURLToPath(new URL('../setup.sh', import.meta.url));

test('with nothing missing it says nothing, and runs the command with Node 24', async () => {
  const { status, stdout, stderr } = await tryCommand(ENCLOSURE, ['sh', SET_UP, 'test', 'node', '--version']);
  assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
  assert.match(stdout, /^v24\./);
});

test("the command's exit status is the script's", async () => {
  assert.equal((await tryCommand(ENCLOSURE, ['sh', SET_UP, 'check', 'sh', '-c', 'exit 7'])).status, 7);
});

const REFUSALS: readonly { name: string; command: readonly string[]; sentence: RegExp }[] = [
  {
    name: 'an ordinary user',
    command: ['unshare', '--user', '--map-user=1000', 'sh', SET_UP, 'demo', 'true'],
    sentence: /^set-up: Cannot make network namespaces as an ordinary user: run it as root/,
  },
  {
    name: 'no /dev/net/tun',
    command: [
      'unshare',
      '--mount',
      'sh',
      '-c',
      `mount -t tmpfs none /dev/net && exec sh ${SET_UP} demo true`,
    ],
    sentence: /^set-up: Cannot open TUN devices, \/dev\/net\/tun is missing: load the module/,
  },
  {
    name: 'another processor',
    command: ['setarch', 'i686', 'sh', SET_UP, 'check', 'true'],
    sentence: /^set-up: Cannot run on Linux i686: Weft needs Linux on x86_64 or aarch64/,
  },
  {
    name: 'an unknown profile',
    command: ['sh', SET_UP, 'deploy'],
    sentence: /^set-up: Cannot set up "deploy": name one of check, test, demo/,
  },
];

for (const { name, command, sentence } of REFUSALS) {
  test(`${name} is refused with one sentence`, async () => {
    const { status, stdout, stderr } = await tryCommand(ENCLOSURE, command);
    assert.equal(status, 1);
    assert.equal(stdout, '');
    assert.match(stderr, sentence);
    assert.equal(stderr.trim().split('\n').length, 1);
  });
}
