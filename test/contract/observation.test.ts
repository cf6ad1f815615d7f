// What control tells about itself, of a node of a few peers: the report and the metrics that are made of it.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';

import type { ClusterView } from '../../agent/control/cluster/cluster-view.ts';
import type { Observation } from '../../agent/control/status/observation.ts';
import { largeObservation } from '../support/large-observation.ts';
import { largeView } from '../support/large-view.ts';

const PEERS = 3;

interface Rig {
  view: ClusterView;
  /** As control does that is started: what the data plane has counted is there. */
  readonly observe: () => Observation;
}

function rig(t: TestContext): Rig {
  const runDirectory = mkdtempSync(join(tmpdir(), 'weft-observation-'));
  t.after(() => rmSync(runDirectory, { recursive: true }));
  const made: Rig = {
    view: largeView(PEERS + 1),
    observe() {
      const observation = largeObservation({ peers: PEERS, pods: 1, runDirectory, view: () => made.view });
      t.after(() => observation.close());
      return observation;
    },
  };
  return made;
}

test('a block without a peer is no problem: every node that joins or leaves has them', async (t) => {
  const its = rig(t);
  const collision = {
    kind: 'same-address',
    name: 'b',
    text: 'peer "b" has the underlay address of "a"',
  } as const;
  const leaving = { kind: 'block-without-peer', name: '10.32.0.0-26', text: 'held by "c"' } as const;
  its.view = { ...its.view, problems: [leaving, collision, leaving] };
  const observation = its.observe();
  const { problems } = observation.facts();
  assert.equal(problems.length, 1);
  assert.match(problems[0] ?? '', /^peer "b" has the underlay address of "a"; it gets no packets: give one/);
  assert.match((await observation.metrics()).text, /^weft_cluster_problems 1$/m);
});

test("a worker's packets are counted on when a peer leaves, also by control that starts later", async (t) => {
  const its = rig(t);
  const counted = async (observation: Observation): Promise<readonly string[]> =>
    (await observation.metrics()).text.match(/^weft_dataplane_worker_packets_total.*/gm) ?? [];
  const before = its.observe();
  const all = await counted(before);
  assert.equal(all.length, 4, 'two workers, two directions');
  its.view = largeView(PEERS);
  assert.deepEqual(await counted(before), all);
  assert.deepEqual(await counted(its.observe()), all);
});
