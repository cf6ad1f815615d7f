// What the live map makes of one answer after the other: rates and loss over time that passed at the agent, and news of what changed.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

// @ts-expect-error: a script of the page, which has no declarations; its types are checked by page/tsconfig.json
import { news as newsOf } from '../../agent/control/map/page/announcer.js';
// @ts-expect-error: see above
import { adviceFor as adviceOf } from '../../agent/control/map/page/details.js';
// @ts-expect-error: see above
import { History } from '../../agent/control/map/page/history.js';
// @ts-expect-error: see above
import { stateWords as wordsOf } from '../../agent/control/map/page/words.js';

interface PeerAt {
  readonly name?: string;
  readonly state?: string;
  readonly sent?: number;
  readonly answered?: number;
  readonly egressBytes?: number;
  readonly pathMtu?: number;
}
interface Link {
  readonly loss?: { readonly lost: number; readonly of: number };
  readonly egressRate?: number;
  readonly isPathLow: boolean;
}
interface Reader {
  add(facts: unknown): void;
  links(): readonly Link[];
  drops(): readonly { readonly reason: string; readonly total: number; readonly perSecond?: number }[];
  course(name: string): readonly { readonly secondsAgo: number; readonly roundTripMs?: number }[];
}
const news = newsOf as (before: unknown, after: unknown) => string; // as: see its own types

interface Answer {
  readonly seconds: number;
  readonly node?: string;
  readonly drops?: Readonly<Record<string, number>>;
  readonly isReady?: boolean;
  readonly isConnected?: boolean;
}

function answer(peers: readonly PeerAt[], at: Answer): unknown {
  const { seconds, node = 'node-0', drops = {}, isReady = true, isConnected = true } = at;
  return {
    told: {
      nowMs: seconds * 1000,
      node: { name: node },
      network: { mtu: 1450 },
      drops,
      notReady: isReady ? [] : ['why'],
      api: { isConnected },
    },
    peers: peers.map((peer) => ({
      name: 'a',
      state: 'established',
      roundTripMs: 1,
      sent: 0,
      answered: 0,
      egressBytes: 0,
      ingressBytes: 0,
      ...peer,
    })),
  };
}

function historyOf(...answers: readonly unknown[]): Reader {
  const history = new History() as Reader; // as: see its own types
  for (const each of answers) history.add(each);
  return history;
}

describe('history of the map', () => {
  it('says nothing of one answer', () => {
    const [link] = historyOf(
      answer([{ sent: 100, answered: 50, egressBytes: 1e6 }], { seconds: 10 }),
    ).links();
    assert.deepEqual([link?.loss, link?.egressRate], [undefined, undefined]);
  });

  it('rates are over the seconds that passed at the agent, at most the last ten', () => {
    const at = (seconds: number, egressBytes: number): unknown => answer([{ egressBytes }], { seconds });
    assert.equal(historyOf(at(0, 0), at(2, 1000)).links()[0]?.egressRate, 500);
    assert.equal(historyOf(at(0, 0), at(50, 9e9), at(60, 9e9 + 1000)).links()[0]?.egressRate, 100);
  });

  it('a counter that begins anew is no negative rate, a gap no rate at all', () => {
    const at = (seconds: number, egressBytes: number): unknown => answer([{ egressBytes }], { seconds });
    assert.equal(historyOf(at(0, 5000), at(2, 10)).links()[0]?.egressRate, 0);
    assert.equal(historyOf(at(0, 0), at(600, 10)).links()[0]?.egressRate, undefined);
  });

  it('loss is of at least five probes within the last minute, never below 0 or above all', () => {
    const at = (seconds: number, sent: number, answered: number): unknown =>
      answer([{ sent, answered }], { seconds });
    assert.equal(historyOf(at(0, 0, 0), at(4, 4, 0)).links()[0]?.loss, undefined);
    assert.deepEqual(historyOf(at(0, 0, 0), at(10, 10, 7)).links()[0]?.loss, { of: 10, lost: 3 });
    assert.deepEqual(historyOf(at(0, 0, 0), at(10, 100, 0), at(60, 150, 50)).links()[0]?.loss, {
      of: 150,
      lost: 100,
    });
    assert.deepEqual(historyOf(at(0, 0, 0), at(10, 100, 0), at(61, 150, 50)).links()[0]?.loss, {
      of: 50,
      lost: 0,
    });
    assert.deepEqual(historyOf(at(0, 10, 0), at(10, 20, 15)).links()[0]?.loss, { of: 10, lost: 0 });
    assert.equal(historyOf(at(0, 100, 100), at(10, 20, 15)).links()[0]?.loss, undefined);
  });

  it('another node, or a machine that was started anew, begins anew', () => {
    const first = answer([{ egressBytes: 0 }], { seconds: 100 });
    const other = answer([{ egressBytes: 500 }], { seconds: 102, node: 'node-9' });
    const rebooted = answer([{ egressBytes: 500 }], { seconds: 3 });
    for (const next of [other, rebooted])
      assert.equal(historyOf(first, next).links()[0]?.egressRate, undefined);
  });

  it('a peer that is new has no rate yet; a path that takes less is low', () => {
    const before = answer([{ name: 'a' }], { seconds: 0 });
    const after = answer(
      [
        { name: 'a', pathMtu: 1450 },
        { name: 'b', pathMtu: 1449 },
      ],
      { seconds: 2 },
    );
    const links = historyOf(before, after).links();
    assert.deepEqual(
      links.map(({ egressRate }) => egressRate),
      [0, undefined],
    );
    assert.deepEqual(
      links.map(({ isPathLow }) => isPathLow),
      [false, true],
    );
  });

  it('refused packets: the most first, a reason that is new counts from 0', () => {
    const before = answer([], { seconds: 0, drops: { truncated: 5 } });
    const after = answer([], { seconds: 10, drops: { truncated: 5, unknown_sender: 20 } });
    assert.deepEqual(historyOf(before, after).drops(), [
      { reason: 'unknown_sender', total: 20, perSecond: 2 },
      { reason: 'truncated', total: 5, perSecond: 0 },
    ]);
  });

  it('the course of a round trip has a gap where the peer did not answer, and two minutes', () => {
    const states = ['established', 'failed', 'established'];
    const history = historyOf(
      answer([{}], { seconds: 0 }),
      ...states.map((state, at) => answer([{ state }], { seconds: 121 + at })),
    );
    assert.deepEqual(history.course('a'), [
      { secondsAgo: 2, roundTripMs: 1 },
      { secondsAgo: 1, roundTripMs: undefined },
      { secondsAgo: 0, roundTripMs: 1 },
    ]);
  });
});

describe('news of the map', () => {
  const named = (names: readonly string[], state: string): readonly PeerAt[] =>
    names.map((name) => ({ name, state }));
  const at = { seconds: 0 };

  it('says at first what there is, then only what changed', () => {
    const now = answer([...named(['a', 'b'], 'established'), ...named(['c'], 'failed')], at);
    assert.equal(news(undefined, now), 'Node node-0 sees 3 peers, 1 failed.');
    assert.equal(news(now, now), '');
  });

  it('names up to three, counts more', () => {
    const names = ['a', 'b', 'c', 'd'];
    const well = answer(named(names, 'established'), at);
    assert.equal(
      news(well, answer([...named(['a'], 'failed'), ...named(['b', 'c', 'd'], 'established')], at)),
      'a has failed.',
    );
    assert.equal(news(well, answer(named(names, 'failed'), at)), '4 peers have failed.');
    assert.equal(news(answer(named(names, 'failed'), at), well), '4 peers answer.');
  });

  it('tells who comes and goes, and of pods and the API', () => {
    const before = answer(named(['a'], 'established'), at);
    const after = answer(named(['b'], 'pending'), { ...at, isReady: false, isConnected: false });
    assert.equal(
      news(before, after),
      'b is a new peer. a is no peer any more. Pods cannot be attached. The API is not heard.',
    );
    assert.match(news(after, before), /Pods can be attached\. The API is heard\.$/);
  });
});

it('a peer that was never heard has not stopped answering', () => {
  const stateWords = wordsOf as (link: unknown) => string; // as: see its own types
  const adviceFor = adviceOf as (link: unknown, facts: unknown) => string; // as: see its own types
  const told = (state: string, heardSecondsAgo: number | undefined): readonly string[] => {
    const link = { peer: { state, stateSeconds: 75, heardSecondsAgo } };
    return [stateWords(link), adviceFor(link, { told: { node: { port: 6784 } } })];
  };
  const [failed = '', lost = ''] = told('failed', 75);
  assert.match(failed, /^failed 1/);
  assert.match(lost, /^It has stopped answering\. See whether the node is up/);
  const [silent, never = ''] = told('failed', undefined);
  assert.equal(silent, 'has never answered');
  assert.match(never, /^It has never answered\. See whether its agent runs, and whether UDP 6784 is open/);
  const [coming, young = ''] = told('pending', undefined);
  assert.equal(coming, 'has not answered yet');
  assert.match(young, /^It is new here and has not answered yet/);
});
