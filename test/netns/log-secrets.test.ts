// Nothing secret is logged, at any level: not what a container runtime sends on standard input, not the agent's token, whoever quotes it, not
// its environment. A word that is nowhere else is put into each of these, and looked for in all that the agent has written.
//
//   node-1 (agent, LOG_LEVEL=trace) ── lab's API server, then an API that quotes requests in its refusals, then a kubeconfig that is damaged
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { after, before, test } from 'node:test';

import { createCniRuntime } from '../lab/cni-runtime.ts';
import { ENCLOSURE } from '../lab/command.ts';
import { until } from '../lab/condition.ts';
import { LAB_DIRECTORY, enterEnclosure } from '../lab/enclosure.ts';
import { type Lab, type LabNode, createLab } from '../lab/lab.ts';
import { UNDERLAY_GATEWAY } from '../lab/node-namespace.ts';
import { startProcess } from '../lab/process.ts';
import { parseLog, withEvent } from '../support/log-line.ts';

await enterEnclosure();

const CANARY = 'canaryWithFeathers0123456789';
const ECHOING_PORT = 8090;
const ECHOING = fileURLToPath(new URL('../lab/echoing-api.ts', import.meta.url));

let lab: Lab;
let node: LabNode;

before(async () => {
  lab = await createLab();
  node = await lab.addNode('node-1', {
    environment: { LOG_LEVEL: 'trace', API_TOKEN: CANARY, WEFT_TOKEN: CANARY },
  });
});

after(() => lab.close());

const logText = (): string => readFileSync(node.agent.logFile, 'utf8');

function assertClean(): void {
  for (const secret of [CANARY, Buffer.from(CANARY).toString('base64').slice(0, 30)]) {
    const leaks = logText()
      .split('\n')
      .filter((line) => line.includes(secret));
    assert.deepEqual(leaks, []);
  }
}

/** The agent with a kubeconfig of such a content, until it has said so. */
async function runWith(kubeconfig: string, event: string): Promise<string> {
  const file = `${LAB_DIRECTORY}/kubeconfig-canary`;
  writeFileSync(file, kubeconfig);
  await node.agent.stop();
  const from = logText().length;
  node.agent.start({ KUBECONFIG: file, LOG_LEVEL: 'trace', API_TOKEN: CANARY });
  const said = (): boolean => withEvent(parseLog(completeLines(logText().slice(from))), event).length > 0;
  await until(said, { what: `"${event}" in the log`, boundMs: 20_000 });
  return logText().slice(from);
}

const completeLines = (text: string): string => text.slice(0, text.lastIndexOf('\n') + 1);

test('what a container runtime sends on standard input', async () => {
  const runtime = createCniRuntime(node);
  const container = await runtime.container('c1');
  const config = { args: { token: CANARY }, ipam: { password: CANARY }, dns: { nameservers: [CANARY] } };
  const added = await runtime.call('ADD', { of: container, config });
  assert.equal(added.status, 0, added.stdout);
  const damaged = [
    `{"cniVersion":"1.1.0","token":"${CANARY}"`,
    CANARY,
    `["${CANARY}"]`,
    `{"name":"${CANARY}"}`,
  ];
  for (const command of ['ADD', 'CHECK', 'DEL', 'GC', 'STATUS', 'VERSION', CANARY]) {
    for (const text of damaged) await runtime.call(command, { of: container, config: text });
  }
  await runtime.call('CHECK', { of: container, config: { ...config, prevResult: { secret: CANARY } } });
  await runtime.call('DEL', { of: container, config });
  await container.remove();
  await until(() => logText().includes('"event":"pod_detached"'), { what: 'the DEL in the log' });
  assert.match(logText(), /"event":"pod_attached"/);
  assertClean();
});

test('the token of the agent, quoted by an API that refuses it', async (t) => {
  const command = [process.execPath, ECHOING, UNDERLAY_GATEWAY, String(ECHOING_PORT)];
  const server = startProcess({ place: ENCLOSURE, command, logFile: `${LAB_DIRECTORY}/echoing.log` });
  t.after(() => server.kill());
  const kubeconfig = JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'c',
    clusters: [{ name: 'c', cluster: { server: `http://${UNDERLAY_GATEWAY}:${ECHOING_PORT}` } }],
    users: [{ name: 'u', user: { token: CANARY } }],
    contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
  });
  const text = await runWith(kubeconfig, 'api_disconnected');
  assert.match(text, /with .*authorization: Bearer \[left out\]/, 'the API has quoted the request');
  assertClean();
});

test('a kubeconfig that cannot be read', async () => {
  await runWith(`users:\n- name: u\n  user: {token: ${CANARY}\n   bad: [indentation\n`, 'credentials_failed');
  assertClean();
});
