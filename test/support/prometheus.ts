// Prometheus and promtool: on PATH, where the set-up puts them, or in the cache that it unpacks them into.
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';

const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'weft/prometheus');

function find(program: string): string | undefined {
  return [cache, ...(process.env['PATH'] ?? '').split(':'), '/usr/bin']
    .map((folder) => join(folder, program))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

/** Why there can be no test with them, or false. */
export const prometheusMissing = (): string | false =>
  find('promtool') === undefined || find('prometheus') === undefined
    ? 'promtool and prometheus are not there: "npm test" unpacks them'
    : false;

export function prometheusProgram(): string {
  const found = find('prometheus');
  if (found === undefined) throw new Error('prometheus is not there: "npm test" unpacks it');
  return found;
}

export function promtool(words: readonly string[]): { readonly status: number; readonly output: string } {
  const { status, stdout, stderr, error } = spawnSync(find('promtool') ?? 'promtool', words, {
    encoding: 'utf8',
  });
  if (error !== undefined) throw error;
  return { status: status ?? 1, output: stdout + stderr };
}
