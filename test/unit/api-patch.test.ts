// The patch formats against the examples of their RFCs, and the ages of kubectl's tables.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { formatAge } from '../../embedded-api/age.ts';
import { ApiFailure } from '../../embedded-api/api-failure.ts';
import type { Json } from '../../embedded-api/api-object.ts';
import { jsonPatch, mergePatch, strategicMergePatch } from '../../embedded-api/patch.ts';

describe('mergePatch: RFC 7386, appendix A', () => {
  for (const [target, patch, expected] of [
    ['{"a":"b"}', '{"a":"c"}', '{"a":"c"}'],
    ['{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'],
    ['{"a":"b"}', '{"a":null}', '{}'],
    ['{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'],
    ['{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'],
    ['{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'],
    ['{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'],
    ['{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'],
    ['["a","b"]', '["c","d"]', '["c","d"]'],
    ['{"a":"b"}', '["c"]', '["c"]'],
    ['{"a":"foo"}', 'null', 'null'],
    ['{"e":null}', '{"a":1}', '{"e":null,"a":1}'],
    ['[1,2]', '{"a":"b","c":null}', '{"a":"b"}'],
    ['{}', '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'],
    ['{}', '{"__proto__":{"x":1}}', '{"__proto__":{"x":1}}'],
  ] as const) {
    test(`${target} + ${patch}`, () => {
      const merged = mergePatch(JSON.parse(target) as Json, JSON.parse(patch) as Json);
      assert.equal(JSON.stringify(merged), expected);
    });
  }
});

describe('jsonPatch: RFC 6902, appendix A', () => {
  for (const [document, patch, expected] of [
    ['{"foo":"bar"}', '[{"op":"add","path":"/baz","value":"qux"}]', '{"foo":"bar","baz":"qux"}'],
    ['{"foo":["bar","baz"]}', '[{"op":"add","path":"/foo/1","value":"qux"}]', '{"foo":["bar","qux","baz"]}'],
    ['{"baz":"qux","foo":"bar"}', '[{"op":"remove","path":"/baz"}]', '{"foo":"bar"}'],
    ['{"foo":["bar","qux","baz"]}', '[{"op":"remove","path":"/foo/1"}]', '{"foo":["bar","baz"]}'],
    ['{"baz":"qux"}', '[{"op":"replace","path":"/baz","value":"boo"}]', '{"baz":"boo"}'],
    ['{"a":{"b":1},"c":{}}', '[{"op":"move","from":"/a/b","path":"/c/d"}]', '{"a":{},"c":{"d":1}}'],
    [
      '{"foo":["all","grass","cows","eat"]}',
      '[{"op":"move","from":"/foo/1","path":"/foo/3"}]',
      '{"foo":["all","cows","eat","grass"]}',
    ],
    ['{"baz":"qux"}', '[{"op":"test","path":"/baz","value":"qux"}]', '{"baz":"qux"}'],
    ['{"foo":"bar"}', '[{"op":"add","path":"/child","value":{"a":{}}}]', '{"foo":"bar","child":{"a":{}}}'],
    ['{"foo":["bar"]}', '[{"op":"add","path":"/foo/-","value":["abc"]}]', '{"foo":["bar",["abc"]]}'],
    ['{"/":9,"~1":10}', '[{"op":"test","path":"/~01","value":10}]', '{"/":9,"~1":10}'],
    ['{"a":1}', '[{"op":"copy","from":"/a","path":"/b"}]', '{"a":1,"b":1}'],
    ['{"a":1}', '[{"op":"replace","path":"","value":[]}]', '[]'],
  ] as const) {
    test(`${document} + ${patch}`, () => {
      const patched = jsonPatch(JSON.parse(document) as Json, JSON.parse(patch) as Json);
      assert.equal(JSON.stringify(patched), expected);
    });
  }

  for (const [patch, code] of [
    ['{}', 400],
    ['[1]', 400],
    ['[{"op":"none","path":"/a"}]', 400],
    ['[{"op":"add","path":"a","value":1}]', 400],
    ['[{"op":"add","path":"/x"}]', 400],
    ['[{"op":"test","path":"/a","value":2}]', 422],
    ['[{"op":"remove","path":"/absent"}]', 422],
    ['[{"op":"remove","path":"/toString"}]', 422],
    ['[{"op":"replace","path":"/absent","value":1}]', 422],
    ['[{"op":"add","path":"/absent/b","value":1}]', 422],
    ['[{"op":"add","path":"/list/3","value":1}]', 422],
    ['[{"op":"remove","path":"/list/-"}]', 422],
    ['[{"op":"remove","path":"/list/01"}]', 422],
  ] as const) {
    test(`refuses ${patch}: ${code}`, () => {
      assert.throws(
        () => jsonPatch({ a: 1, list: [1, 2] }, JSON.parse(patch) as Json),
        (error) => error instanceof ApiFailure && error.status.code === code,
      );
    });
  }
});

describe('strategicMergePatch', () => {
  for (const [title, target, patch, expected] of [
    [
      'merges a list by its key',
      { taints: [{ key: 'a', v: 1 }] },
      { taints: [{ key: 'a', w: 2 }, { key: 'b' }] },
      { taints: [{ key: 'a', v: 1, w: 2 }, { key: 'b' }] },
    ],
    [
      'deletes an element',
      { taints: [{ key: 'a' }, { key: 'b' }] },
      { taints: [{ $patch: 'delete', key: 'a' }] },
      { taints: [{ key: 'b' }] },
    ],
    [
      'deletes what is not there',
      { taints: [{ key: 'b' }] },
      { taints: [{ $patch: 'delete', key: 'a' }] },
      { taints: [{ key: 'b' }] },
    ],
    ['replaces a list without a key', { args: ['a'] }, { args: ['b'] }, { args: ['b'] }],
    [
      'replaces a list on demand',
      { taints: [{ key: 'a' }] },
      { taints: [{ $patch: 'replace' }, { key: 'c' }] },
      { taints: [{ key: 'c' }] },
    ],
    [
      'replaces an object on demand',
      { labels: { a: 'b' } },
      { labels: { $patch: 'replace', c: 'd' } },
      { labels: { c: 'd' } },
    ],
    [
      'removes with null and leaves directives out',
      { a: 1, b: 2 },
      { a: null, '$setElementOrder/x': [] },
      { b: 2 },
    ],
  ] as const) {
    test(title, () => assert.deepEqual(strategicMergePatch(target, patch), expected));
  }
});

describe('formatAge', () => {
  for (const [seconds, expected] of [
    [-5, '<invalid>'],
    [-1, '0s'],
    [0, '0s'],
    [119, '119s'],
    [120, '2m'],
    [185, '3m5s'],
    [600, '10m'],
    [10_799, '179m'],
    [10_800, '3h'],
    [11_100, '3h5m'],
    [28_800, '8h'],
    [172_799, '47h'],
    [172_800, '2d'],
    [180_000, '2d2h'],
    [691_200, '8d'],
    [63_072_000, '2y'],
    [63_158_400, '2y1d'],
    [252_288_000, '8y'],
  ] as const) {
    test(`${seconds} s is ${expected}`, () => assert.equal(formatAge(seconds * 1000), expected));
  }
});
