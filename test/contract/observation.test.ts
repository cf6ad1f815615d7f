// What control tells about itself, of a node of a few peers: the report and the metrics that are made of it.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { largeObservation } from '../support/large-observation.ts';
import { largeView } from '../support/large-view.ts';

test('a block without a peer is no problem: every node that joins or leaves has them', async (t) => {
  const runDirectory = mkdtempSync(join(tmpdir(), 'weft-observation-'));
  t.after(() => rmSync(runDirectory, { recursive: true }));
  const collision = {
    kind: 'same-address',
    name: 'b',
    text: 'peer "b" has the underlay address of "a"',
  } as const;
  const leaving = { kind: 'block-without-peer', name: '10.32.0.0-26', text: 'held by "c"' } as const;
  const view = { ...largeView(4), problems: [leaving, collision, leaving] };
  const observation = largeObservation({ peers: 3, pods: 1, runDirectory, view });
  t.after(() => observation.close());
  const { problems } = observation.facts();
  assert.equal(problems.length, 1);
  assert.match(problems[0] ?? '', /^peer "b" has the underlay address of "a"; it gets no packets: give one/);
  assert.match((await observation.metrics()).text, /^weft_cluster_problems 1$/m);
});
