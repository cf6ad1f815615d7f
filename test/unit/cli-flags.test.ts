// The arguments of `weft`: what is read, and what is refused in which words.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import type { Flag } from '../../agent/cli/command.ts';
import { flagLines, parseArguments } from '../../agent/cli/flags.ts';
import { nearest } from '../../agent/cli/nearest.ts';
import { OperationError } from '../../agent/operation-error.ts';

const flags: Readonly<Record<string, Flag>> = {
  output: { type: 'string', short: 'o', words: ['table', 'json', 'yaml'], meaning: 'the form' },
  watch: { type: 'string', short: 'w', implied: '2', value: 'SECONDS', meaning: 'again and again' },
  'no-headers': { type: 'boolean', meaning: 'no head' },
  count: { type: 'string', value: 'NUMBER' },
};
const read = (...args: string[]): ReturnType<typeof parseArguments> =>
  parseArguments(args, { name: 'status', flags });
const refusal = (...args: string[]): string => {
  try {
    read(...args);
  } catch (error) {
    assert.ok(error instanceof OperationError);
    assert.equal(error.code, 'WRONG_USE');
    return error.message;
  }
  return 'it is read';
};

describe('parseArguments', () => {
  it('reads flags before, between and after arguments', () => {
    assert.deepEqual(
      { ...read('-o', 'json', 'peers', '--count=3', '--no-headers').flags },
      { output: 'json', count: '3', 'no-headers': true },
    );
    assert.deepEqual(read('-ojson', 'peers').positionals, ['peers']);
  });
  it('a flag with an implied value does not take the next argument for it', () => {
    for (const typed of ['--watch', '-w']) {
      const { positionals, flags: values } = read(typed, 'peers');
      assert.deepEqual([values['watch'], ...positionals], ['2', 'peers']);
    }
    assert.equal(read('--watch=5').flags['watch'], '5');
    assert.deepEqual(read('--', '--watch').positionals, ['--watch']);
  });
  for (const [args, words] of [
    [['--wathc'], 'Cannot read "--wathc": "weft status" has no such flag; did you mean "--watch"?'],
    [['-x'], 'Cannot read "-x": "weft status" has no such flag; "weft status --help" lists them'],
    [['--constructor'], 'Cannot read "--constructor": "weft status" has no such flag;'],
    [['-o'], 'Cannot read "-o": a value is missing; there is: table, json, yaml'],
    [['--count'], 'Cannot read "--count": a value is missing, give NUMBER'],
    [['-o', 'xml'], 'Cannot read "-o=xml": the value is not known; there is: table, json, yaml'],
    [['--no-headers=yes'], 'Cannot read "--no-headers=yes": it takes no value'],
  ] as const) {
    it(`refuses ${args.join(' ')}`, () => {
      assert.ok(refusal(...args).startsWith(words), refusal(...args));
    });
  }
});

describe('flagLines', () => {
  it('lists the flags that have a meaning', () => {
    assert.equal(
      flagLines(flags),
      [
        '  -o, --output table|json|yaml  the form',
        '  -w, --watch[=SECONDS]         again and again',
        '  --no-headers                  no head',
        '  -h, --help                    what the command does',
        '',
      ].join('\n'),
    );
    assert.equal(flagLines({ count: { type: 'string' } }), '');
  });
});

describe('nearest', () => {
  const known = ['status', 'report', 'ipam', 'doctor', 'ping', 'trace', 'capture', 'completion', 'version'];
  for (const [typed, meant] of [
    ['stauts', 'status'],
    ['stat', 'status'],
    ['dr', undefined],
    ['docter', 'doctor'],
    ['pign', 'ping'],
    ['xyzzy', undefined],
    ['', undefined],
  ] as const) {
    it(`"${typed}" means ${meant ?? 'nothing'}`, () => assert.equal(nearest(typed, known), meant));
  }
});
