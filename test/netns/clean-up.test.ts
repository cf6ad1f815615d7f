// A lab leaves nothing behind, however it ends: no process, no interface, route, firewall rule or mount of the machine's own, no file.
// Runs outside any enclosure: it looks at the machine as a person would.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import process from 'node:process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { ENCLOSURE, runCommand } from '../lab/command.ts';
import { until } from '../lab/condition.ts';

const PROGRAM = fileURLToPath(new URL('../support/failing-lab.ts', import.meta.url));

/** What a lab could leave on the machine. Only names of the lab's kinds, because other programs may change the rest meanwhile. */
async function traces(): Promise<readonly string[]> {
  const links = await runCommand(ENCLOSURE, ['ip', '-o', 'link']);
  const routes = await runCommand(ENCLOSURE, ['ip', 'route', 'show', 'table', 'all']);
  const tables = await runCommand(ENCLOSURE, ['nft', 'list', 'tables']);
  const mounts = readFileSync('/proc/mounts', 'utf8');
  return [
    ...links.split('\n').filter((line) => /: (underlay|u-|k-|vx0|weft|weave)/.test(line)),
    ...routes.split('\n').filter((line) => /172\.31\.|10\.3[2-9]\.|10\.4[0-7]\./.test(line)),
    ...tables.split('\n').filter((line) => /weft/.test(line)),
    ...mounts.split('\n').filter((line) => /\blab-|weft-lab|\/run\/lab/.test(line)),
    ...readdirSync(tmpdir()).filter((name) => /^weft-lab-\d/.test(name)),
  ];
}

/** Processes that were started inside the enclosure of the program with that id. */
const insiders = (programPid: number): readonly string[] =>
  readdirSync('/proc').filter((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      return readFileSync(`/proc/${name}/environ`, 'latin1').includes(`WEFT_LAB_INSIDE=${programPid}\0`);
    } catch {
      return false; // ended in between
    }
  });

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly errors: string;
}

async function startLab(mode: string): Promise<{ child: ChildProcess; pid: number; ended: Promise<Ended> }> {
  const child = spawn(process.execPath, [PROGRAM, mode], { stdio: ['ignore', 'pipe', 'pipe'] });
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text));
  const ended = new Promise<Ended>((resolve) => {
    child.on('close', (code, signal) => resolve({ code, signal, errors }));
  });
  await new Promise<void>((resolve, reject) => {
    child.stdout.once('data', () => resolve());
    child.once('error', reject);
    child.once('close', () => reject(new Error(`the lab ended before it was up: ${errors}`)));
  });
  return { child, pid: child.pid ?? -1, ended };
}

const WAYS: readonly { name: string; mode: string; signal?: NodeJS.Signals; code: number | null }[] = [
  { name: 'after success', mode: 'end', code: 0 },
  { name: 'after a failure', mode: 'fail', code: 1 },
  { name: 'after Ctrl-C', mode: 'stay', signal: 'SIGINT', code: 130 },
  { name: 'after SIGTERM', mode: 'stay', signal: 'SIGTERM', code: 143 },
  { name: 'after kill -9', mode: 'stay', signal: 'SIGKILL', code: null },
];

for (const { name, mode, signal, code } of WAYS) {
  test(`nothing is left ${name}`, async () => {
    const { child, pid, ended } = await startLab(mode);
    if (signal !== undefined) {
      assert.ok(insiders(pid).length > 0, 'the lab runs');
      child.kill(signal);
    }
    const end = await ended;
    assert.equal(end.code, code, end.errors);
    await until(() => insiders(pid).length === 0, { what: 'all processes of the lab to end' });
    assert.deepEqual(await traces(), []);
  });
}

test('while a lab runs, nothing of it is in the network namespace of the machine', async () => {
  const { child, ended } = await startLab('stay');
  const seen = await traces();
  child.kill('SIGINT');
  await ended;
  assert.deepEqual(seen, []);
});
