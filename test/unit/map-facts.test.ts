// What the live map is told: small enough for a poll, and read back by the page's own reader as what it was.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';

import { MAP_FORM, type MapFacts } from '../../agent/control/map/map-form.ts';
import { isOwnHost } from '../../agent/control/map/host-name.ts';
// @ts-expect-error: a script of the page, which has no declarations; its types are checked by page/tsconfig.json
import { FORM, blockName, readFacts } from '../../agent/control/map/page/facts.js';
import { createMapRig } from '../support/map-rig.ts';
import { testSeed } from '../support/random.ts';

const seed = testSeed();
const large = Array.from(
  { length: 1000 },
  (_, at) => `ip-10-120-${at >> 8}-${at & 255}.eu-west-1.compute.internal`,
);

interface ReadBack {
  readonly peers: readonly {
    name: string;
    state: string;
    sent: number;
    answered: number;
    roundTripMs?: number;
    pathMtu?: number;
    version: string;
  }[];
  readonly held: readonly { index: number; holder: string; isAbandoned: boolean }[];
}
const read = (told: MapFacts): ReadBack => readFacts(JSON.parse(JSON.stringify(told))) as ReadBack; // as: what the page has of it

describe(`facts of the map (seed ${seed})`, () => {
  it('takes at most 150 kB for 1,000 peers with two blocks each, counters of 13 digits and names of 40 characters', (t) => {
    const rig = createMapRig({ names: large, seed, blocksEach: 2, quarantined: 40 });
    for (const name of large) rig.behave(name, { bytesPerSecond: 2.5e9 });
    rig.pass(1000);
    const bytes = JSON.stringify(rig.facts()).length;
    t.diagnostic(`${bytes} bytes`);
    assert.ok(bytes <= 150_000, `${bytes} bytes`);
  });

  it('is read back by the page: peers by name, each block with its holder', () => {
    const names = large.slice(0, 40);
    const rig = createMapRig({ names, seed, blocksEach: 3, abandoned: 4, quarantined: 5 });
    rig.behave(names[7]!, { answers: false }); // !: there are 40
    rig.pass(10);
    const facts = rig.facts();
    assert.equal(facts.form, MAP_FORM);
    assert.equal(FORM, MAP_FORM);
    const { peers, held } = read(facts);
    assert.deepEqual(
      peers.map(({ name }) => name),
      names,
    );
    assert.equal(peers.find(({ name }) => name === names[7])?.state, 'pending');
    assert.ok(peers.every(({ version }) => version === '0.1.0'));
    const count = (holder: string): number => held.filter((block) => block.holder === holder).length;
    assert.deepEqual(
      ['node-0', ...names].map(count),
      Array.from({ length: 41 }, () => 3),
    );
    assert.deepEqual(
      held.filter(({ isAbandoned }) => isAbandoned).map(({ holder }) => holder),
      Array.from({ length: 4 }, () => 'node-that-was'),
    );
    assert.deepEqual(
      held.map(({ index }) => index),
      [...new Set(held.map(({ index }) => index))].toSorted((a, b) => a - b),
    );
    const own = held.filter(({ holder }) => holder === 'node-0').map(({ index }) => index);
    assert.deepEqual(
      facts.blocks.own.map(({ index }) => index).toSorted((a, b) => a - b),
      own,
    );
    assert.equal(facts.blocks.quarantined.length, 5);
    assert.equal(blockName({ told: facts }, 1), '10.32.0.64/26');
    assert.equal(blockName({ told: facts }, 16_383), '10.47.255.192/26');
  });

  it('counts a freed block as in quarantine for as long as it is', () => {
    const rig = createMapRig({ names: ['node-1'], seed, quarantined: 2 });
    assert.equal(rig.facts().blocks.quarantined.length, 2);
    rig.pass(600);
    assert.equal(rig.facts().blocks.quarantined.length, 0);
  });

  it('leaves out a probe whose answer is not due yet', () => {
    const rig = createMapRig({ names: ['node-1'], seed });
    rig.pass(5);
    const before = read(rig.facts()).peers[0];
    rig.ask('node-1');
    assert.deepEqual([before?.sent, read(rig.facts()).peers[0]?.sent], [5, 5]);
    rig.behave('node-1', { answers: false });
    rig.pass(1);
    assert.equal(read(rig.facts()).peers[0]?.sent, 7);
  });

  it('tells the first twenty contradictions, and how many there are', () => {
    const rig = createMapRig({ names: [], seed });
    rig.report = { problems: Array.from({ length: 500 }, (_, at) => `problem ${at}`) };
    const { problems, problemCount } = rig.facts();
    assert.deepEqual([problems.length, problems[19], problemCount], [20, 'problem 19', 500]);
  });
});

describe('the name that a request calls us by', () => {
  for (const [header, configured] of [
    ['127.0.0.1:6784', '127.0.0.1'],
    ['localhost:40123', '127.0.0.1'],
    ['LOCALHOST', '127.0.0.1'],
    ['weft.localhost:80', '127.0.0.1'],
    ['[::1]:6784', '127.0.0.1'],
    ['192.0.2.7:6784', '0.0.0.0'],
    ['node-1.example:6784', 'node-1.example'],
    [undefined, '127.0.0.1'],
  ] as const) {
    it(`${header} is ours, configured as ${configured}`, () => assert.ok(isOwnHost(header, configured)));
  }

  for (const header of [
    'evil.example',
    'evil.example:6784',
    'localhost.evil.example:6784',
    '127.0.0.1.evil.example',
    '127.0.0.1@evil.example',
    'evillocalhost',
    '[evil]:1',
    '1.2.3',
    '',
    ':6784',
    'a:b:c',
  ]) {
    it(`"${header}" is not`, () => assert.ok(!isOwnHost(header, '127.0.0.1')));
  }
});

it('the page names no address outside', () => {
  const folder = new URL('../../agent/control/map/page/', import.meta.url);
  for (const file of ['index.html', 'page.css', 'links.css', 'panels.css', 'page.js']) {
    const text = readFileSync(new URL(file, folder), 'utf8');
    assert.doesNotMatch(text, /(?:https?:)?\/\/[a-z]/i, file);
  }
});
