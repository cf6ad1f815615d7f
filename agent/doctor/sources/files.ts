// Folders and files of the agent: whether they can be written to, have room, and are of today.
import { accessSync, closeSync, constants, openSync, readdirSync, statSync, statfsSync } from 'node:fs';
import { join } from 'node:path';

import { decodeAddressBlock, decodePeer } from '../../../proto/api-decode.ts';
import { formatCidr } from '../../../proto/address.ts';
import { SNAPSHOT_FILE, readSnapshot } from '../../control/cluster/snapshot.ts';
import { parseStateIdentity } from '../../control/state-identity.ts';
import { codeOf } from '../../operation-error.ts';
import type { Settings } from '../../settings.ts';
import type { CniFacts, FileFacts, FolderFacts } from '../scene.ts';
import { readText } from './proc-files.ts';

const IDENTITY_FILE = 'identity.json';
const TOKEN = '/var/run/secrets/kubernetes.io/serviceaccount/token';
const TUN = '/dev/net/tun';
const PLUGIN = 'weft';
/** What clocks of one machine may differ by. */
const FUTURE_SECONDS = 5;

function refusalOf(attempt: () => void): string | undefined {
  try {
    attempt();
    return undefined;
  } catch (error) {
    return codeOf(error);
  }
}

function folder(path: string): FolderFacts {
  const refusal = refusalOf(() => accessSync(path, constants.W_OK | constants.X_OK));
  try {
    const { bavail, bsize, ffree, files } = statfsSync(path);
    // Some file systems count no inodes.
    return { path, refusal, freeBytes: bavail * bsize, freeInodes: files === 0 ? undefined : ffree };
  } catch {
    return { path, refusal, freeBytes: undefined, freeInodes: undefined };
  }
}

const ageSeconds = (path: string, nowMs: number): number | undefined => {
  try {
    return (nowMs - statSync(path).mtimeMs) / 1000;
  } catch {
    return undefined;
  }
};

function fromTheFuture(directory: string, nowMs: number): FileFacts['fromTheFuture'] {
  let names: readonly string[];
  try {
    names = readdirSync(directory);
  } catch {
    return [];
  }
  return names.flatMap((name) => {
    const age = ageSeconds(join(directory, name), nowMs) ?? 0;
    return age < -FUTURE_SECONDS ? [{ name, aheadSeconds: -age }] : [];
  });
}

/** The claim "exp" of a JSON Web Token. */
function expiryOf(token: string | undefined): number | undefined {
  try {
    const claims: unknown = JSON.parse(Buffer.from(token?.split('.')[1] ?? '', 'base64url').toString());
    const isDated = typeof claims === 'object' && claims !== null && 'exp' in claims;
    return isDated && typeof claims.exp === 'number' ? claims.exp * 1000 : undefined;
  } catch {
    return undefined;
  }
}

function stateIdOf(directory: string): string | undefined {
  return parseStateIdentity(readText(join(directory, IDENTITY_FILE)) ?? '')?.stateId;
}

function cni({ cniDirectory, cniPluginDirectory }: Settings): CniFacts | undefined {
  if (cniDirectory === undefined) return undefined;
  const plugin = join(cniPluginDirectory, PLUGIN);
  let names: readonly string[] = [];
  try {
    names = readdirSync(cniDirectory);
  } catch {
    // told by its refusal
  }
  return {
    directory: cniDirectory,
    refusal: refusalOf(() => accessSync(cniDirectory, constants.W_OK | constants.X_OK)),
    configurations: names.filter((name) => /\.(conf|conflist|json)$/.test(name)).toSorted(),
    pluginDirectory: cniPluginDirectory,
    pluginRefusal: refusalOf(() => accessSync(plugin, constants.X_OK)),
  };
}

export async function readFiles(settings: Settings, clock: () => number): Promise<FileFacts> {
  const { stateDirectory, runDirectory, nodeName, range, blockPrefixLength } = settings;
  const snapshot = await readSnapshot({
    directory: stateDirectory,
    owner: { nodeName, range: formatCidr(range), blockPrefixLength },
    decodePeer,
    decodeAddressBlock,
  });
  const nowMs = clock(); // after what takes long: the agent goes on writing
  return {
    state: folder(stateDirectory),
    run: folder(runDirectory),
    snapshotAgeSeconds: ageSeconds(join(stateDirectory, SNAPSHOT_FILE), nowMs),
    snapshotRefusal: snapshot.ok || snapshot.reason === 'missing' ? undefined : snapshot.reason,
    fromTheFuture: fromTheFuture(stateDirectory, nowMs),
    stateId: stateIdOf(stateDirectory),
    cni: cni(settings),
    tunRefusal: refusalOf(() => closeSync(openSync(TUN, 'r+'))),
    tokenExpiresMs: expiryOf(readText(TOKEN)),
  };
}
