// The vocabulary of log events holds what is logged: an event that no source names is one that operators wait for in vain.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { EVENTS } from '../../agent/telemetry/event-names.ts';

const AGENT = fileURLToPath(new URL('../../agent', import.meta.url));

test('every event of the vocabulary is named by a source of the agent', () => {
  const sources = readdirSync(AGENT, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && !file.endsWith('event-names.ts'))
    .map((file) => readFileSync(join(AGENT, file), 'utf8'));
  assert.ok(sources.length > 50, `only ${sources.length} sources below ${AGENT}`);
  const unused = EVENTS.map(([name]) => name).filter(
    (name) => !sources.some((text) => text.includes(`'${name}'`)),
  );
  assert.deepEqual(unused, []);
});
