// The nft program, JSON in and out (libnftables-json(5)). Used for whole tables, never on the path of an ADD.
// Its input is a file in memory: nft opens /dev/stdin by name, which fails on the socket that Node makes for a child's stdin.
import { spawn } from 'node:child_process';
import { accessSync, closeSync, constants, writeSync } from 'node:fs';
import { join } from 'node:path';

import { OperationError } from '../operation-error.ts';
import { Arena, type Region } from './arena.ts';
import { check, libc } from './libc.ts';

const MFD_CLOEXEC = 1;
const TIMEOUT_MS = 15_000;
const USUAL_FOLDERS = ['/usr/sbin', '/sbin', '/usr/local/sbin', '/usr/bin'];

export type NftCommand = Readonly<Record<string, unknown>>;

export interface Nft {
  /** All commands in one transaction: all take effect at once, or none. Throws OperationError: NFT_MISSING, NFT_REFUSED. */
  apply(commands: readonly NftCommand[]): Promise<void>;
  /** The objects of a table as nft lists them; undefined when there is no such table. Throws OperationError: NFT_MISSING. */
  list(family: string, table: string): Promise<readonly NftCommand[] | undefined>;
  /** All tables, as objects. Throws OperationError: NFT_MISSING, NFT_REFUSED. */
  listAll(): Promise<readonly NftCommand[]>;
  /** All tables as nft writes them, rules with their handles. Throws as listAll(). */
  listText(): Promise<string>;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** `searchPath` is the environment's PATH; the usual folders of system programs follow. */
function findNft(searchPath: string): string {
  const folders = [...searchPath.split(':').filter((folder) => folder.startsWith('/')), ...USUAL_FOLDERS];
  const found = folders.map((folder) => join(folder, 'nft')).find(isExecutable);
  if (found !== undefined) return found;
  throw new OperationError(
    `Cannot find the program "nft" in ${folders.join(', ')}: install the package nftables`,
    { code: 'NFT_MISSING' },
  );
}

interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

let memoryFileName: Region | undefined;

/** A file without a path that holds the text; the caller closes it. */
function openMemoryFile(text: string): number {
  memoryFileName ??= new Arena(1).allocate(8); // zeroed: the empty name
  const fd = check(
    libc.memfd_create(memoryFileName.address, MFD_CLOEXEC),
    () => 'make a file in memory for nft',
  );
  try {
    const bytes = Buffer.from(text);
    for (let written = 0; written < bytes.length;) written += writeSync(fd, bytes, written);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function run(path: string, parameters: readonly string[], input: string): Promise<Outcome> {
  const { promise, resolve, reject } = Promise.withResolvers<Outcome>();
  const stdin = openMemoryFile(input);
  try {
    const child = spawn(path, parameters, {
      env: { LC_ALL: 'C' },
      stdio: [stdin, 'pipe', 'pipe'],
      timeout: TIMEOUT_MS,
      killSignal: 'SIGKILL',
    });
    let stdout = '';
    let stderr = '';
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      stdout += chunk;
    });
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      stderr += chunk;
    });
    child.on('error', (cause) => {
      reject(new OperationError(`Cannot run "${path}": ${cause.message}`, { code: 'NFT_MISSING', cause }));
    });
    child.on('close', (status) => {
      resolve({ status, stdout, stderr });
    });
  } finally {
    closeSync(stdin);
  }
  return promise;
}

function objectsOf(stdout: string): readonly NftCommand[] {
  const listing: unknown = JSON.parse(stdout);
  const objects =
    typeof listing === 'object' && listing !== null && 'nftables' in listing && listing.nftables;
  return Array.isArray(objects) ? objects : [];
}

/** Throws OperationError: NFT_MISSING. */
export function openNft(searchPath: string): Nft {
  const path = findNft(searchPath);
  const listRuleset = async (format: '-j' | '-a'): Promise<string> => {
    const { status, stdout, stderr } = await run(path, [format, 'list', 'ruleset'], '');
    if (status === 0) return stdout;
    throw new OperationError(`Cannot list the nftables rules: nft said "${stderr.trim()}"`, {
      code: 'NFT_REFUSED',
    });
  };
  return {
    async apply(commands) {
      const { status, stderr } = await run(path, ['-j', '-f', '-'], JSON.stringify({ nftables: commands }));
      if (status === 0) return;
      const said = stderr.trim().split('\n').slice(0, 4).join(' ');
      throw new OperationError(
        `Cannot apply the nftables rules: nft said "${said}" (status ${status}); load the kernel module that it needs (nf_tables, nft_masq)`,
        {
          code: 'NFT_REFUSED',
          context: { status: status ?? -1 },
        },
      );
    },
    listAll: async () => objectsOf(await listRuleset('-j')),
    listText: () => listRuleset('-a'),
    async list(family, table) {
      const { status, stdout } = await run(path, ['-j', 'list', 'table', family, table], '');
      // nft has one status for all failures; what is not there is made, and making it tells what is wrong.
      return status === 0 ? objectsOf(stdout) : undefined;
    },
  };
}
