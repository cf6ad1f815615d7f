// Where `weft capture` puts its packets: lines on standard output, or a pcapng file there or on disk.
import { closeSync, openSync, writeSync } from 'node:fs';

import type { CapturedPacket } from '../../proto/capture-ring.ts';
import { OperationError, codeOf } from '../operation-error.ts';
import {
  type CaptureSurroundings,
  fileHeader,
  filePacket,
  fileTrailer,
  interfaceOf,
  line,
} from '../wire/capture-output.ts';
import type { Invocation } from './command.ts';
import { monotonicMs } from '../linux/monotonic-clock.ts';
import { textFlag } from './packet-flags.ts';
import { wrongUse } from './flags.ts';

export interface CaptureSink {
  put(packets: readonly CapturedPacket[]): void;
  end(leftOut: number): void;
  close(): void;
}

/** Undefined: lines are wanted. Throws OperationError WRONG_USE. */
export function pathOf({ flags: given, stdout }: Invocation): string | undefined {
  const path = textFlag(given, 'write');
  if (path !== '-' || !stdout.isTerminal) return path;
  throw wrongUse(
    '"-w -" writes a file that no terminal shows: send it on, as in "weft capture -w - > packets.pcapng", or leave it out',
  );
}

/** Throws OperationError (errno's name). */
export function openSink(
  { flags: given, stdout }: Invocation,
  surroundings: CaptureSurroundings,
  { node, path }: { readonly node: string; readonly path: string | undefined },
): CaptureSink {
  if (path === undefined) {
    return {
      put: (packets) => stdout.write(packets.map((packet) => line(packet, surroundings)).join('')),
      end: () => undefined,
      close: () => undefined,
    };
  }
  const fd = path === '-' ? undefined : openFile(path);
  const write = (bytes: Uint8Array): void =>
    fd === undefined ? stdout.write(bytes) : writeFile(fd, bytes, path);
  const counts: number[] = [];
  const named = Object.entries(given).map(([name, value]) =>
    value === true ? `--${name}` : `--${name} ${String(value)}`,
  );
  write(fileHeader(surroundings, { node, command: ['weft capture', ...named].join(' ') }));
  return {
    put(packets) {
      for (const packet of packets) counts[interfaceOf(packet)] = (counts[interfaceOf(packet)] ?? 0) + 1;
      write(Buffer.concat(packets.map((packet) => filePacket(packet, surroundings))));
    },
    end: (leftOut) => write(fileTrailer(counts, leftOut, surroundings.wallUs(monotonicMs()))),
    close: () => fd !== undefined && closeSync(fd),
  };
}

function openFile(path: string): number {
  try {
    return openSync(path, 'w', 0o600);
  } catch (error) {
    throw notWritten(path, error);
  }
}

function writeFile(fd: number, bytes: Uint8Array, path: string): void {
  try {
    for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at);
  } catch (error) {
    throw notWritten(path, error);
  }
}

const notWritten = (path: string, error: unknown): OperationError =>
  new OperationError(
    `Cannot write "${path}" (${codeOf(error)}): in the agent's container, whose files are read-only, write to standard output and keep it outside: kubectl -n weft exec ds/weft -- weft capture -w - > packets.pcapng`,
    { code: codeOf(error), cause: error },
  );
