// Every call in the agent that logs a warning or an error: its message says what to do, in the words at the call or in those of the error that
// it passes on. Found in the source text, so a new call is held to it, too.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { REMEDY } from '../support/remedy-words.ts';

const AGENT = fileURLToPath(new URL('../../agent', import.meta.url));

/** Files whose message is made elsewhere, and who sees to its remedy. */
const PASSED_ON: Readonly<Record<string, string>> = {
  'control/status/recent-events.ts': 'it hands on what others tell',
  'control/cni/configuration-keeper.ts': 'the errors of cni-configuration.ts, and overruled() below',
  'control/cluster/rival-machine.ts': 'trouble() below',
  'control/blocks/block-claims.ts': '#exhaustion() below',
  'control/cluster/service-ranges.ts': 'serviceOverlap() below',
  'control/cluster/cluster-link.ts': 'cluster-config.ts and api-endpoint.ts for credentials_failed',
  'control/cni/log-health.ts': 'commit-queue.ts',
  'control/node/node-upkeep.ts':
    'network_contested: `contested` above; network_failed: the errors of the node, else doctor',
  'control/main.ts': 'agent_refused_to_start: every code has its remedy in refusals.md',
  'control/cluster/snapshot-health.ts': 'the error of snapshot-writer.ts',
  'refusal.ts': 'agent_refused_to_start: every code has its remedy in refusals.md',
};

interface Call {
  readonly file: string;
  readonly text: string;
}

/** The text between a call's parentheses, strings and templates skipped over. */
function argumentsAt(source: string, from: number): string {
  let depth = 1;
  let at = from;
  /** The quote that ends the string we are in; a template's holes count as code. */
  const inside: string[] = [];
  while (at < source.length && depth > 0) {
    const character = source[at] ?? '';
    const quote = inside.at(-1);
    if (character === '\\') at += 1;
    else if (quote === '`' && source.startsWith('${', at)) {
      inside.push('}');
      at += 1;
    } else if (quote !== undefined && character === quote) inside.pop();
    else if (quote === undefined || quote === '}') {
      if (character === "'" || character === '"' || character === '`') inside.push(character);
      else if (character === '{' && quote === '}') inside.push('}');
      else if (character === '(') depth += 1;
      else if (character === ')') depth -= 1;
    }
    at += 1;
  }
  return source.slice(from, at - 1);
}

function callsOf(file: string): readonly Call[] {
  const source = readFileSync(join(AGENT, file), 'utf8');
  const calls = [...source.matchAll(/\blog\.(?:warn|error)\(/g)].map(({ 0: head, index }) => {
    const text = argumentsAt(source, index + head.length);
    if (!/^\s*(?:'\w+'|event),\s*message\b/.test(text)) return text;
    const made = source.slice(source.lastIndexOf('const message =', index), index);
    return `${text} // ${made.slice(0, made.indexOf(';\n'))}`;
  });
  const reports = [...source.matchAll(/\breport\(/g)]
    .map(({ 0: head, index }) => argumentsAt(source, index + head.length))
    .filter((text) => /level: '(?:warn|error)'/.test(text));
  return [...calls, ...reports].map((text) => ({ file, text }));
}

const calls = readdirSync(AGENT, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .flatMap(callsOf);

test('the scan finds the calls', () => {
  assert.ok(calls.length >= 50, `${calls.length} calls`);
  assert.equal(argumentsAt("f('a)', `b ${g(')', {})} )`) + 1", 2), "'a)', `b ${g(')', {})} )`");
});

test('every warning and error says what to do', () => {
  const silent = calls.filter(
    ({ file, text }) => !REMEDY.test(text) && !/remed(?:y|ies)/i.test(text) && !(file in PASSED_ON),
  );
  assert.deepEqual(
    silent.map(({ file, text }) => `${file}: ${text.replaceAll(/\s+/g, ' ')}`),
    [],
  );
});

test('no departure is left over', () => {
  const unneeded = Object.keys(PASSED_ON).filter((name) =>
    calls
      .filter(({ file }) => file === name)
      .every(({ text }) => REMEDY.test(text) || /remed(?:y|ies)/i.test(text)),
  );
  assert.deepEqual(unneeded, []);
});
