// A bench for the CNI shim: runs the built program as a runtime does, against an agent that is only a listener with a scripted answer.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { TestContext } from 'node:test';

import { type Readiness, openReadiness } from '../../agent/linux/readiness.ts';
import type { UnixMessage } from '../../agent/linux/unix-connection.ts';
import { type UnixListener, openUnixListener } from '../../agent/linux/unix-listener.ts';
import { decodeRequest, encodeResponse, requestBytes } from '../../proto/shim-codec.ts';

const SOURCES: string = new URL('../../cni-shim', import.meta.url).pathname;

/** Builds both forms; paths of the programs. */
export function buildShim(): { readonly shim: string; readonly asan: string } {
  const made = spawnSync('make', ['-C', SOURCES, 'shim', 'asan'], { encoding: 'utf8' });
  if (made.status !== 0) throw new Error(`Cannot build the shim:\n${made.stdout}${made.stderr}`);
  return { shim: join(SOURCES, 'build/weft'), asan: join(SOURCES, 'build/weft-asan') };
}

export interface Received {
  readonly environment: ReadonlyMap<string, string>;
  readonly stdin: Uint8Array;
  readonly descriptors: number;
}

export interface Finished {
  readonly status: number | null;
  readonly stdout: string;
  /** What was printed, as JSON. */
  readonly json: { readonly code?: number; readonly msg?: string; readonly [key: string]: unknown };
}

export interface ShimOptions {
  readonly variables: Readonly<Record<string, string>>;
  readonly stdin?: string | Uint8Array;
  /** Leaves stdin open until the program has ended. */
  readonly holdStdin?: boolean;
  /** Told the process id once it runs. */
  readonly started?: (pid: number) => Promise<void>;
}

export class ShimBench {
  readonly directory: string = mkdtempSync(join(tmpdir(), 'weft-shim-'));
  readonly socket: string = join(this.directory, 'run', 'cni.sock');
  readonly tombstones: string = join(this.directory, 'state', 'tombstones');
  readonly received: Received[] = [];
  readonly #readiness: Readiness = openReadiness();
  readonly #listeners: UnixListener[] = [];
  readonly #program: string;

  constructor(context: TestContext, program: string) {
    this.#program = program;
    mkdirSync(dirname(this.tombstones)); // the agent's own
    context.after(async () => {
      for (const listener of this.#listeners) await listener.close();
      this.#readiness.close();
      rmSync(this.directory, { recursive: true, force: true });
    });
  }

  /** An agent that gives this reply (or what the function makes of the message). */
  listen(
    reply: Uint8Array | ((message: UnixMessage) => Promise<Uint8Array>) = encodeResponse({
      status: 0,
      json: '{}',
    }),
    { hangUp = false, deadlineMs = 60_000 }: { hangUp?: boolean; deadlineMs?: number } = {},
  ): UnixListener {
    const listener = openUnixListener({
      path: this.socket,
      readiness: this.#readiness,
      messageBytes: (head) => (hangUp ? { ok: false, reason: 'hang-up' } : requestBytes(head)),
      maxDescriptors: 2,
      deadlineMs,
      handle: async (message) => {
        const request = decodeRequest(message.bytes);
        if (!request.ok) throw new Error(`the shim sent a malformed request: ${request.reason}`);
        this.received.push({ ...request.value, descriptors: message.descriptors.length });
        return typeof reply === 'function' ? await reply(message) : reply;
      },
      refuse: () => undefined,
    });
    this.#listeners.push(listener);
    return listener;
  }

  /** Runs the program to its end. Anything on stderr (the sanitizers' reports) is an error. */
  async run({ variables, stdin = '', holdStdin = false, started }: ShimOptions): Promise<Finished> {
    const child = spawn(this.#program, [], {
      env: { WEFT_CNI_SOCKET: this.socket, WEFT_TOMBSTONE_DIR: this.tombstones, ...variables },
    });
    const output: Buffer[] = [];
    const errors: Buffer[] = [];
    child.stdout.on('data', (data: Buffer) => output.push(data));
    child.stderr.on('data', (data: Buffer) => errors.push(data));
    child.stdin.on('error', () => {}); // EPIPE: a program that has refused already
    const closed = once(child, 'close');
    child.stdin.write(stdin);
    if (!holdStdin) child.stdin.end();
    if (child.pid !== undefined) await started?.(child.pid);
    await closed;
    child.stdin.destroy();
    if (errors.length > 0) throw new Error(`the shim wrote to stderr:\n${Buffer.concat(errors).toString()}`);
    const stdout = Buffer.concat(output).toString();
    const json = (stdout === '' ? {} : JSON.parse(stdout)) as Finished['json']; // as: what the tests look at
    return { status: child.exitCode, stdout, json };
  }
}
