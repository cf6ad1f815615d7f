// The schema validator: its words against those of the real API server, its verdict against a naive reading of the schema on random
// objects, and pruning.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { ADDRESS_BLOCK, CUSTOM_KINDS, PEER, type Schema } from '../../proto/api-schema.ts';
import { prune, unknownFields, validate } from '../../proto/api-validation.ts';
import { randomInt, seededRandom, testSeed } from '../support/random.ts';

const VALID = {
  apiVersion: 'weft.dev/v1alpha1',
  kind: 'Peer',
  metadata: { name: 'n1' },
  spec: {
    nodeUid: 'u',
    addresses: ['192.0.2.1'],
    port: 6784,
    vtepMac: '0e:00:5e:00:53:01',
    features: ['probe'],
    version: '1',
  },
};

const sentences = (spec: Readonly<Record<string, unknown>>): string[] =>
  validate(PEER.schema, { ...VALID, spec: { ...VALID.spec, ...spec } }).map(
    ({ path, message }) => `${path}: ${message}`,
  );

describe('validate words what is wrong as the API server does', () => {
  test('nothing for a valid object', () => assert.deepEqual(validate(PEER.schema, VALID), []));

  const many = Array.from({ length: 17 }, (_, index) => `192.0.2.${index}`);
  for (const [spec, expected] of [
    [{ port: 0 }, 'spec.port: Invalid value: 0: spec.port in body should be greater than or equal to 1'],
    [
      { port: 65536 },
      'spec.port: Invalid value: 65536: spec.port in body should be less than or equal to 65535',
    ],
    [
      { port: '1' },
      'spec.port: Invalid value: "string": spec.port in body must be of type integer: "string"',
    ],
    [
      { port: 1.5 },
      'spec.port: Invalid value: "number": spec.port in body must be of type integer: "number"',
    ],
    [{ port: null }, 'spec.port: Invalid value: "null": spec.port in body must be of type integer: "null"'],
    [
      { addresses: [] },
      'spec.addresses: Invalid value: 0: spec.addresses in body should have at least 1 items',
    ],
    [{ addresses: many }, 'spec.addresses: Too many: 17: must have at most 16 items'],
    [
      { addresses: {} },
      'spec.addresses: Invalid value: "object": spec.addresses in body must be of type array: "object"',
    ],
    [
      { addresses: ['192.0.2.256'] },
      'spec.addresses[0]: Invalid value: "192.0.2.256": spec.addresses[0] in body must be of type ipv4: "192.0.2.256"',
    ],
    [
      { addresses: ['192.0.2.1', 7] },
      'spec.addresses[1]: Invalid value: "integer": spec.addresses[1] in body must be of type string: "integer"',
    ],
    [
      { vtepMac: 'x' },
      `spec.vtepMac: Invalid value: "x": spec.vtepMac in body should match '^[0-9a-f]{2}(:[0-9a-f]{2}){5}$'`,
    ],
    [
      { version: '' },
      'spec.version: Invalid value: "": spec.version in body should be at least 1 chars long',
    ],
    [{ version: '🙂'.repeat(65) }, 'spec.version: Too long: may not be more than 64 bytes'],
    [{ features: ['a', 'b', 'a'] }, 'spec.features[2]: Duplicate value: "a"'],
  ] as const) {
    test(expected, () => assert.deepEqual(sentences(spec), [expected]));
  }

  test('length counts characters, not code units', () =>
    assert.deepEqual(sentences({ version: '🙂'.repeat(64) }), []));

  test('every missing field, and a root of another type', () => {
    assert.deepEqual(
      validate(PEER.schema, { spec: {} }).map(
        ({ path, message, reason }) => `${path}: ${message} (${reason})`,
      ),
      ['nodeUid', 'addresses', 'port', 'vtepMac', 'features', 'version'].map(
        (field) => `spec.${field}: Required value (FieldValueRequired)`,
      ),
    );
    assert.deepEqual(validate(PEER.schema, { ...VALID, spec: undefined }).length, 1);
    assert.equal(validate(PEER.schema, [])[0]?.path, '');
  });
});

describe('unknown fields', () => {
  test('are found by path and pruned; what is known stays', () => {
    const value = {
      ...VALID,
      status: {},
      spec: { ...VALID.spec, a: { b: 1 } },
      metadata: { name: 'n1', odd: 1 },
    };
    assert.deepEqual(unknownFields(PEER.schema, value), ['spec.a', 'status']);
    const { status: _, ...rest } = value;
    assert.deepEqual(prune(PEER.schema, value), { ...rest, spec: VALID.spec });
    assert.deepEqual(unknownFields(PEER.schema, prune(PEER.schema, value)), []);
  });

  test('named as what every object inherits are unknown too', () => {
    const value = JSON.parse('{"spec":{"__proto__":{"port":1},"constructor":1,"toString":2}}') as unknown;
    assert.deepEqual(unknownFields(PEER.schema, value), [
      'spec.__proto__',
      'spec.constructor',
      'spec.toString',
    ]);
    assert.deepEqual(prune(PEER.schema, value), { spec: {} });
    assert.equal(validate(PEER.schema, value).length, 6); // an inherited port is none
  });
});

describe('the schemas', () => {
  const walk = (schema: Schema, path: string, visit: (schema: Schema, path: string) => void): void => {
    visit(schema, path);
    for (const [name, child] of Object.entries(schema.properties ?? {}))
      walk(child, `${path}.${name}`, visit);
    if (schema.items !== undefined) walk(schema.items, `${path}[]`, visit);
  };

  for (const kind of CUSTOM_KINDS) {
    test(`${kind.kind}: structural, bounded, described, and what is required exists`, () => {
      walk(kind.schema, kind.kind, (schema, path) => {
        for (const name of schema.required ?? [])
          assert.ok(schema.properties?.[name], `${path} requires ${name}`);
        if (schema.pattern !== undefined) assert.match(schema.pattern, /^\^.*\$$/, `${path} is not anchored`);
        if (!path.includes('.spec')) return;
        if (schema.type === 'string') assert.ok(schema.maxLength ?? schema.pattern, `${path} has no bound`);
        if (schema.type === 'array') assert.ok(schema.maxItems, `${path} has no bound`);
        if (!path.endsWith('[]')) assert.ok(schema.description, `${path} has no description`);
      });
    });

    test(`${kind.kind}: printer columns point at fields of the schema`, () => {
      for (const { jsonPath } of kind.columns) {
        if (jsonPath.startsWith('.metadata.')) continue;
        const steps = jsonPath.match(/[^.[\]]+/g) ?? [];
        const found = steps.reduce<Schema | undefined>(
          (schema, step) => (/^\d+$/.test(step) ? schema?.items : schema?.properties?.[step]),
          kind.schema,
        );
        assert.ok(found, jsonPath);
      }
    });
  }

  test('a rule that compares with the old object stands below the root, where it has one', () => {
    assert.deepEqual(
      ADDRESS_BLOCK.schema.properties?.['spec']?.['x-kubernetes-validations']?.map(({ rule }) => rule),
      [
        'self.node == oldSelf.node',
        '!has(oldSelf.stateId) || (has(self.stateId) && self.stateId == oldSelf.stateId)',
      ],
    );
  });
});

/** The schema read naively: only whether the value fits. */
function fits(schema: Schema, value: unknown): boolean {
  if (schema.type === 'array') {
    if (!Array.isArray(value)) return false;
    if (value.length < (schema.minItems ?? 0) || value.length > (schema.maxItems ?? Infinity)) return false;
    if (schema['x-kubernetes-list-type'] === 'set' && new Set(value).size < value.length) return false;
    return value.every((item) => schema.items === undefined || fits(schema.items, item));
  }
  if (schema.type === 'object') {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
    const fields = new Map(Object.entries(value));
    if (!(schema.required ?? []).every((name) => fields.has(name))) return false;
    return Object.entries(schema.properties ?? {}).every(
      ([name, child]) => !fields.has(name) || fits(child, fields.get(name)),
    );
  }
  if (schema.type === 'string') {
    if (typeof value !== 'string') return false;
    let characters = 0;
    for (const _ of value) characters += 1;
    if (characters < (schema.minLength ?? 0) || characters > (schema.maxLength ?? Infinity)) return false;
    if (schema.format === 'ipv4') {
      const octets = value.split('.');
      const good = octets.filter(
        (octet) => String(Number(octet)) === octet && Number(octet) >= 0 && Number(octet) <= 255,
      );
      if (octets.length !== 4 || good.length !== 4) return false;
    }
    return schema.pattern === undefined || new RegExp(schema.pattern).test(value);
  }
  if (schema.type === 'integer') {
    return (
      typeof value === 'number' &&
      value % 1 === 0 &&
      value >= (schema.minimum ?? -Infinity) &&
      value <= (schema.maximum ?? Infinity)
    );
  }
  return typeof value === 'boolean';
}

const ODD: readonly unknown[] = [
  null,
  true,
  -1,
  0,
  1,
  65535,
  65536,
  1.5,
  '',
  'a',
  'A',
  '1.2.3.4',
  '01.2.3.4',
  '1.2.3',
  '0e:00:5e:00:53:01',
  'x'.repeat(300),
  [],
  {},
  ['a', 'a'],
  ['1.2.3.4'],
];

function randomValue(schema: Schema, random: () => number): unknown {
  if (random() < 0.08) return ODD[randomInt(random, ODD.length)];
  switch (schema.type) {
    case 'object':
      return Object.fromEntries(
        Object.entries(schema.properties ?? {})
          .filter(() => random() < 0.97)
          .map(([name, child]) => [name, randomValue(child, random)]),
      );
    case 'array': {
      const { items } = schema;
      const length = randomInt(random, random() < 0.05 ? 40 : 4);
      return items === undefined ? [] : Array.from({ length }, () => randomValue(items, random));
    }
    case 'string':
      if (schema.format === 'ipv4') return Array.from({ length: 4 }, () => randomInt(random, 260)).join('.');
      if (schema.pattern?.includes(':') === true) return '0e:00:5e:00:53:01';
      if (schema.pattern?.includes('/') === true) return '10.0.0.0/26';
      if (schema.pattern?.includes('{32}') === true) return '0123456789abcdef'.repeat(2);
      return 'abcdefghijklmnop'.slice(0, 1 + randomInt(random, 15));
    case 'integer':
      return 1 + randomInt(random, 65_535);
    case 'boolean':
      return random() < 0.5;
    default:
      return schema.type satisfies never;
  }
}

test('the verdict on random objects is that of the naive reading', () => {
  const seed = testSeed();
  console.log(`seed ${seed} (WEFT_TEST_SEED)`);
  const random = seededRandom(seed);
  const verdicts = { valid: 0, invalid: 0 };
  for (let round = 0; round < 20_000; round += 1) {
    const { schema } = CUSTOM_KINDS[randomInt(random, CUSTOM_KINDS.length)]!; // !: in range
    const value = randomValue(schema, random);
    const violations = validate(schema, value);
    assert.equal(
      violations.length === 0,
      fits(schema, value),
      `${JSON.stringify(value)}: ${JSON.stringify(violations)}`,
    );
    assert.deepEqual(prune(schema, value), prune(schema, prune(schema, value)));
    verdicts[violations.length === 0 ? 'valid' : 'invalid'] += 1;
  }
  assert.ok(verdicts.valid > 1000 && verdicts.invalid > 1000, JSON.stringify(verdicts));
});
