// The small parts of agent/kube: lines out of bytes, versions, answers that are errors, pages, timing.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { statusError } from '../../agent/kube/api-status.ts';
import { createLineSplitter } from '../../agent/kube/line-splitter.ts';
import { PagedList } from '../../agent/kube/paged-list.ts';
import { auditMs, backoffMs, silenceBoundMs, watchSeconds } from '../../agent/kube/reflector-timing.ts';
import type { ListPage, ListQuery } from '../../agent/kube/resource-source.ts';
import { compareResourceVersions } from '../../agent/kube/resource-version.ts';
import { OperationError } from '../../agent/operation-error.ts';
import { randomInt, seededRandom, testSeed } from '../support/random.ts';

test('createLineSplitter keeps lines and characters whole however the bytes are cut', (t) => {
  const seed = testSeed();
  t.diagnostic(`WEFT_TEST_SEED=${seed}`);
  const random = seededRandom(seed);
  const wanted = ['{"a":"ä€𝄞"}', 'x', '𝄞'.repeat(50), '{}'];
  const bytes = Buffer.from(`${wanted.join('\n')}\n\r\n\n`);
  for (let round = 0; round < 300; round++) {
    const got: string[] = [];
    const splitter = createLineSplitter({ maxBytes: 1000, line: (text) => got.push(text) });
    for (let at = 0; at < bytes.length;) {
      const end = round === 0 ? at + 1 : at + 1 + randomInt(random, 30);
      assert.ok(splitter.push(bytes.subarray(at, end)));
      at = end;
    }
    assert.deepEqual(got, wanted);
    assert.equal(splitter.pendingBytes, 0);
  }
});

test('createLineSplitter refuses a line beyond the limit, in one chunk or many, and all that follows', () => {
  for (const chunk of [1, 7, 100]) {
    const got: string[] = [];
    const splitter = createLineSplitter({ maxBytes: 10, line: (text) => got.push(text) });
    const bytes = Buffer.from(`1234567890\n12345678901\nlater\n`);
    const answers: boolean[] = [];
    for (let at = 0; at < bytes.length; at += chunk)
      answers.push(splitter.push(bytes.subarray(at, at + chunk)));
    assert.deepEqual(got, ['1234567890']);
    assert.equal(answers.at(-1), false);
    assert.equal(splitter.pendingBytes, 0);
  }
});

test('compareResourceVersions orders integers of any length and nothing else', () => {
  assert.ok(compareResourceVersions('99', '100')! < 0);
  assert.ok(compareResourceVersions('18446744073709551616', '18446744073709551615')! > 0);
  assert.equal(compareResourceVersions('7', '7'), 0);
  for (const odd of ['', 'abc', '-1', '01', '1e3', '1'.repeat(40)]) {
    assert.equal(compareResourceVersions(odd, '7'), undefined);
  }
});

for (const [status, reason, method, code] of [
  [409, 'AlreadyExists', 'POST', 'ALREADY_EXISTS'],
  [409, 'Conflict', 'PUT', 'CONFLICT'],
  [409, 'Conflict', 'POST', 'CONFLICT'],
  [409, undefined, 'POST', 'ALREADY_EXISTS'],
  [409, undefined, 'DELETE', 'CONFLICT'],
  [401, undefined, 'GET', 'UNAUTHORIZED'],
  [403, undefined, 'GET', 'FORBIDDEN'],
  [404, undefined, 'GET', 'NOT_FOUND'],
  [410, undefined, 'GET', 'GONE'],
  [400, undefined, 'GET', 'INVALID'],
  [422, undefined, 'POST', 'INVALID'],
  [429, undefined, 'GET', 'THROTTLED'],
  [500, undefined, 'GET', 'UNAVAILABLE'],
  [301, undefined, 'GET', 'UNAVAILABLE'],
] as const) {
  test(`statusError of ${status} ${reason ?? ''} on ${method} is ${code}`, () => {
    const error = statusError({ action: 'do it', status, method, body: { message: 'say "what"\n', reason } });
    assert.equal(error.code, code);
    assert.equal(error.message, `Cannot do it: the API server answered ${status}: "say \\"what\\"\\n"`);
  });
}

test('statusError takes Retry-After from the header or the Status, and hostile bodies for nothing', () => {
  const of = (body: unknown, retryAfter?: string): unknown =>
    statusError({ action: 'x', status: 429, body, retryAfter }).context['retryAfterMs'];
  assert.equal(of({}, '7'), 7000);
  assert.equal(of({ details: { retryAfterSeconds: 3 } }), 3000);
  assert.equal(of({ details: { retryAfterSeconds: 1e9 } }), 300_000);
  assert.equal(of({}, 'Wed, 21 Oct 2026 07:28:00 GMT'), undefined);
  for (const body of [
    null,
    7,
    'text',
    [],
    { message: 7, details: 'x' },
    { details: { retryAfterSeconds: '9' } },
  ]) {
    assert.equal(of(body), undefined);
  }
  const long = statusError({ action: 'x', status: 500, body: { message: 'y'.repeat(10_000) } });
  assert.ok(long.message.length < 600);
});

test('PagedList has the version of its first page, and an end', async () => {
  const queries: ListQuery[] = [];
  const answers: ListPage[] = [
    { items: [1], resourceVersion: '10', continueToken: 'a' },
    { items: [2], resourceVersion: '15' },
  ];
  const list = new PagedList({
    plural: 'things',
    list(query) {
      queries.push(query);
      return Promise.resolve(answers.shift() ?? { items: [], resourceVersion: '16', continueToken: 'again' });
    },
    watch() {},
  });
  const { signal } = new AbortController();
  assert.deepEqual(await list.fetch('9', signal), {
    items: [1, 2],
    resourceVersion: '10',
    consistent: false,
  });
  assert.deepEqual(queries, [
    { limit: 500, resourceVersion: '9' },
    { limit: 500, continueToken: 'a' },
  ]);
  await assert.rejects(
    list.fetch('9', signal),
    (error) => error instanceof OperationError && error.code === 'MALFORMED',
  );
});

test('reflector timing stays within its bounds', () => {
  for (const random of [() => 0, () => 0.999_999]) {
    assert.ok(watchSeconds(random) >= 300 && watchSeconds(random) < 600);
    for (let failures = 1; failures < 60; failures++) {
      for (const objects of [0, 3, 100, 100_000]) {
        const delay = backoffMs({ failures, objects, random });
        assert.ok(delay >= 50 && delay <= (objects < 50 ? 5000 : 30_000), `${delay}`);
      }
    }
    assert.ok(auditMs(0, random) >= 450_000 && auditMs(1e6, random) <= 86_400_000 * 1.25);
  }
  assert.equal(silenceBoundMs(3), 30_000);
  assert.equal(silenceBoundMs(5000), 90_000);
});

test('statusError: a token that somebody quotes is not repeated, whosever it is', () => {
  const words = (message: string): string =>
    statusError({
      action: 'get node "a"',
      status: 403,
      body: { message },
      authorization: 'Bearer mine.of-the/agent==',
    }).message;
  assert.match(
    words('request with mine.of-the/agent== is refused'),
    /"request with \[left out\] is refused"$/,
  );
  assert.match(words('header Authorization: Bearer theirs-12345678'), /Bearer \[left out\]"$/);
  assert.match(words('got eyJhbGciOiJSUzI1NiIs.eyJpc3MiOi.c2ln-bmF0'), /got \[left out\]"$/);
  assert.match(words('User "system:serviceaccount:weft:weft-agent" cannot'), /weft-agent\\" cannot"$/);
});
