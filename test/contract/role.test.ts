// The keeper's role with real processes: one that cannot be started is tried again, and its turn comes.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { createRole } from '../../agent/role.ts';

const directory = mkdtempSync(join(tmpdir(), 'weft-role-'));
const openPipes = (): number => process.getActiveResourcesInfo().filter((name) => name === 'PipeWrap').length;

test('createRole: where no process is to be had, the role is tried again until it runs', async (t) => {
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const before = openPipes();
  const program = join(directory, 'node');
  const failures: string[] = [];
  let tries = 0;
  let running = (_pid: number): void => undefined;
  const started = new Promise<number>((resolve) => (running = resolve));
  const role = createRole({
    name: 'dataplane',
    // Ends with its standard input, which is how stop() ends it.
    script: join(import.meta.dirname, 'role-child.ts'),
    environment: process.env,
    descriptors: () => [],
    spares: 1,
    program,
    log: {
      debug: () => undefined,
      warn: () => undefined,
      error(event, message) {
        failures.push(event);
        assert.match(message, /Cannot start dataplane: .*ENOENT/);
      },
    },
    changed: ({ pid }) => {
      if (pid !== 0) return running(pid);
      tries += 1;
      if (tries === 4) symlinkSync(process.execPath, program); // the active one and its spare, two changes each
    },
  });
  const pid = await started;
  assert.deepEqual(failures, ['role_failed_to_start'], 'told once');
  assert.doesNotThrow(() => process.kill(pid, 0));
  await role.stop(10_000);
  assert.throws(() => process.kill(pid, 0), /ESRCH/);
  assert.equal(openPipes(), before);
});
