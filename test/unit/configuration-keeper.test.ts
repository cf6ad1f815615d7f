// What the configuration keeper says: each problem once, as long as it lasts a trouble, and nothing when all is well.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';

import {
  type ConfigurationKeeper,
  createConfigurationKeeper,
} from '../../agent/control/cni/configuration-keeper.ts';
import { createLogger } from '../../agent/telemetry/logger.ts';

let folder: string;
let lines: { event: string; level: string; msg: string; plugins_left_out?: string }[];
let keeper: ConfigurationKeeper;

const confFile = (name: string): string => join(folder, 'net.d', name);

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'weft-keeper-'));
  mkdirSync(join(folder, 'net.d'));
  writeFileSync(join(folder, 'template'), '{"cniVersion":"1.0.0","name":"weft","plugins":[{"type":"weft"}]}');
  lines = [];
  const log = createLogger({
    role: 'control',
    level: 'info',
    format: 'json',
    write: (line) => lines.push(JSON.parse(line) as (typeof lines)[number]), // as: the logger's own form
  });
  keeper = createConfigurationKeeper(
    {
      cniDirectory: join(folder, 'net.d'),
      cniPluginDirectory: folder,
      cniTemplate: join(folder, 'template'),
    },
    log,
  );
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Lines since the last look. */
const told = (): readonly string[] =>
  lines.splice(0).map(({ level, event, msg }) => `${level} ${event} ${msg}`);

test('it writes, says so once, and has no trouble', () => {
  keeper.ensure();
  assert.equal('plugins_left_out' in (lines[0] ?? {}), false);
  assert.match(told().join('\n'), /^info cni_configuration_written Wrote 10-weft\.conflist to ".*net\.d"$/);
  keeper.ensure();
  assert.deepEqual(told(), []);
  assert.equal(keeper.trouble(), undefined);
});

test('a plugin that the node does not have is named in a field', () => {
  writeFileSync(
    join(folder, 'template'),
    '{"cniVersion":"1.0.0","name":"weft","plugins":[{"type":"weft"},{"type":"portmap"}]}',
  );
  keeper.ensure();
  assert.equal(lines[0]?.plugins_left_out, 'portmap');
});

test("another network's file that comes first: one warning, which names it and the remedy, until it is gone", () => {
  writeFileSync(confFile('05-other.conflist'), 'theirs');
  keeper.ensure();
  const [, warning = ''] = told();
  assert.match(
    warning,
    /^warn cni_configuration_foreign The runtime attaches new pods by "05-other\.conflist" and not by Weft: .*; remove it there/,
  );
  assert.equal(keeper.trouble()?.code, 'CNI_OVERRULED');
  keeper.ensure();
  assert.deepEqual(told(), []);
  writeFileSync(confFile('00-first.conf'), 'theirs');
  keeper.ensure();
  assert.match(told().join('\n'), /by "00-first\.conf", then "05-other\.conflist" and not by Weft/);
  rmSync(confFile('05-other.conflist'));
  rmSync(confFile('00-first.conf'));
  keeper.ensure();
  assert.match(told().join('\n'), /^info cni_configuration_effective [^\n]*$/);
  keeper.ensure();
  assert.deepEqual([told(), keeper.trouble()], [[], undefined]);
});

test("another network's file that comes later is mentioned once, and is no trouble", () => {
  writeFileSync(confFile('99-later.conflist'), 'theirs');
  keeper.ensure();
  keeper.ensure();
  assert.match(
    told()[1] ?? '',
    /^info cni_configuration_foreign Left alone, .*: "99-later\.conflist"; remove/,
  );
  assert.equal(keeper.trouble(), undefined);
  assert.equal(readFileSync(confFile('99-later.conflist'), 'utf8'), 'theirs');
});

test('a configuration that cannot be written is an error and a trouble, until it can', () => {
  writeFileSync(join(folder, 'template'), '{}');
  keeper.ensure();
  keeper.ensure();
  assert.match(told().join('\n'), /^error cni_configuration_failed Cannot use the CNI configuration [^\n]*$/);
  assert.equal(keeper.trouble()?.code, 'CNI_TEMPLATE_INVALID');
  writeFileSync(join(folder, 'template'), '{"name":"weft","plugins":[{"type":"weft"}]}');
  keeper.ensure();
  assert.equal(keeper.trouble(), undefined);
});

test('no folder, nothing to keep', () => {
  const log = createLogger({ role: 'control', level: 'info', format: 'json', write: () => assert.fail() });
  const none = createConfigurationKeeper(
    { cniDirectory: undefined, cniPluginDirectory: '', cniTemplate: '' },
    log,
  );
  none.ensure();
  assert.equal(none.trouble(), undefined);
});
