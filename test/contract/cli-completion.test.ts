// What a real bash makes of the script of `weft completion bash`: its function called as bash calls it, and keys typed at a terminal.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';

import type { Command } from '../../agent/cli/command.ts';
import { COMMANDS } from '../../agent/cli/commands.ts';
import { SHELLS, completionScript } from '../../agent/cli/completion.ts';

const commands = await Promise.all(COMMANDS.map((entry) => entry.load()));
const names = commands.map(({ name }) => name);
const scratch = mkdtempSync(join(tmpdir(), `weft-test-${process.pid}-completion-`));
after(() => rmSync(scratch, { recursive: true }));

const fileOf = (shell: (typeof SHELLS)[number], of: readonly Command[] = commands): string => {
  const path = join(scratch, shell);
  writeFileSync(path, completionScript(shell, of));
  return path;
};

/** What bash offers for the last of the words, which it has split as it does. */
function offered(...words: readonly string[]): readonly string[] {
  const script = `source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _weft; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout, stderr } = spawnSync('bash', ['--norc', '-c', script, 'bash', fileOf('bash'), ...words], {
    encoding: 'utf8',
  });
  assert.equal(stderr, '');
  return stdout.split('\n').filter((word) => word !== '');
}

describe('weft completion bash', () => {
  it('completes commands', () => {
    assert.deepEqual(offered('weft', ''), [...names, 'help', '--help', '--version']);
    assert.deepEqual(offered('weft', 'st'), ['status']);
    assert.deepEqual(offered('weft', 'help', 'ver'), ['version']);
    assert.deepEqual(offered('weft', 'no-such', ''), []);
  });
  it('completes the words of every command, its flags, and the values of those', () => {
    for (const { name, words = [], flags } of commands) {
      assert.deepEqual(offered('weft', name, ''), words, name);
      assert.deepEqual(
        offered('weft', name, '--'),
        [...Object.keys(flags), 'help'].map((flag) => `--${flag}`),
        name,
      );
      for (const [flag, { type, short, words: values = [], implied }] of Object.entries(flags)) {
        if (type !== 'string') continue;
        assert.deepEqual(offered('weft', name, `--${flag}`, '='), values, flag);
        if (implied !== undefined) assert.deepEqual(offered('weft', name, `--${flag}`, ''), words, flag);
        else if (short !== undefined) assert.deepEqual(offered('weft', name, `-${short}`, ''), values, flag);
      }
    }
    assert.deepEqual(offered('weft', 'status', '--output', '=', 'y'), ['yaml']);
    assert.deepEqual(offered('weft', 'status', '-o', 'json', 'pe'), ['peers']);
  });

  it('completes what is typed at a terminal', (t) => {
    if (!existsSync('/usr/bin/script')) return t.skip('there is no script(1) for a terminal');
    const setUp = `source ${fileOf('bash')}; weft() { echo "got $*."; }; bind 'set enable-bracketed-paste off'\n`;
    const { stdout } = spawnSync('script', ['-qec', 'bash --norc --noprofile -i', '/dev/null'], {
      input: `${setUp}weft sta\tconn\t-o j\t--no\t\nweft status --output=y\t\nexit\n`,
      encoding: 'utf8',
      timeout: 20_000,
      env: { PATH: process.env['PATH'] ?? '', TERM: 'dumb', HOME: scratch },
    });
    assert.match(stdout, /got status connections -o json --no-headers\./);
    assert.match(stdout, /got status --output=yaml\./);
  });
});

describe('completion scripts', () => {
  const strange: Command = {
    name: 'strange',
    usage: '',
    summary: "it's [odd]: $(touch nothing)",
    help: '',
    flags: { flag: { type: 'string', meaning: "of 'quotes'", value: 'X' } },
    run: async () => 0,
  };
  for (const shell of SHELLS) {
    it(`are valid for ${shell}`, (t) => {
      const program = ['/usr/bin', '/bin']
        .map((folder) => join(folder, shell))
        .find((path) => existsSync(path));
      if (program === undefined) return t.skip(`there is no ${shell} here`);
      const { status, stderr } = spawnSync(program, ['-n', fileOf(shell, [...commands, strange])], {
        encoding: 'utf8',
      });
      assert.deepEqual([status, stderr], [0, '']);
    });
    it(`name every command and flag for ${shell}`, () => {
      const script = completionScript(shell, commands);
      for (const { name, flags } of commands) {
        assert.ok(script.includes(name), name);
        for (const flag of Object.keys(flags))
          assert.ok(new RegExp(`(?:--|-l )${flag}\\b`).test(script), flag);
      }
    });
  }
});
