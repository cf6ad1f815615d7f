// Programs of a test that run in a network namespace and say by lines how far they are; and waiting, with a bound.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import process from 'node:process';

export const LIMIT_MS = 20_000;

/** A process inside a namespace and the lines that it has said. */
export interface Talker {
  readonly child: ChildProcess;
  readonly lines: string[];
  /** The next line that matches; fails after LIMIT_MS. */
  line(pattern: RegExp): Promise<string>;
  readonly ended: Promise<number | null>;
}

export function talk(namespace: string, script: string, ...words: string[]): Talker {
  const path = join(import.meta.dirname, script);
  const child = spawn('ip', ['netns', 'exec', namespace, process.execPath, path, ...words], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines: string[] = [];
  const waiting: (() => void)[] = [];
  let rest = '';
  child.stdout.on('data', (chunk: Buffer) => {
    const parts = (rest + chunk.toString()).split('\n');
    rest = parts.pop() ?? '';
    lines.push(...parts);
    for (const wake of waiting.splice(0)) wake();
  });
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
  return {
    child,
    lines,
    ended,
    async line(pattern) {
      const signal = AbortSignal.timeout(LIMIT_MS);
      for (;;) {
        const index = lines.findIndex((text) => pattern.test(text));
        if (index >= 0) return lines.splice(0, index + 1).at(-1) ?? '';
        await new Promise<void>((resolve, reject) => {
          waiting.push(resolve);
          signal.onabort = () =>
            reject(new Error(`${script} ${words.join(' ')} never said ${pattern.source}`));
        });
      }
    },
  };
}

export async function until(condition: () => boolean, what: string): Promise<void> {
  const signal = AbortSignal.timeout(LIMIT_MS);
  while (!condition()) {
    assert.ok(!signal.aborted, `never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
