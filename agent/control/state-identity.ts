// Who this agent's state directory is: 32 random hexadecimal digits, made with the first start. Blocks are claimed with it, so that two
// machines with one node name never share one, nor a machine that was set up anew with its predecessor (docs/decisions/0015). A directory that
// was copied to another machine gets a new identity there. A reader never fails: without a usable file the identity is a new one.
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import type { Settings } from '../settings.ts';
import { type Logger, errorFields } from '../telemetry/logger.ts';
import { replaceFile } from './replace-file.ts';

const FILE = 'identity.json';
/** SMBIOS system UUID, which hypervisors give each copy of a machine anew; boards without SMBIOS have a serial number in the device tree. */
const MACHINE_FILES = ['/sys/class/dmi/id/product_uuid', '/proc/device-tree/serial-number'];

export interface StateIdentity {
  readonly stateId: string;
  /** What tells this machine from a copy of it; empty where the machine has no such thing. */
  readonly machine: string;
}

/** Reads the identity, or makes it; one that cannot be kept is good until the agent ends. */
export async function openStateIdentity(
  { stateDirectory }: Pick<Settings, 'stateDirectory'>,
  log: Pick<Logger, 'info' | 'warn'>,
): Promise<string> {
  const machine = MACHINE_FILES.map(readText).find((text) => text !== undefined) ?? '';
  const text = readText(join(stateDirectory, FILE));
  const known = text === undefined ? undefined : parseStateIdentity(text);
  if (known?.machine === machine) return known.stateId;
  const identity: StateIdentity = { stateId: randomBytes(16).toString('hex'), machine };
  if (known !== undefined) {
    log.warn(
      'state_identity_changed',
      `"${join(stateDirectory, FILE)}" is of another machine (${known.machine}; this one is ${machine}): its address blocks are left alone, this node claims its own. Nothing is to be done after a machine was cloned`,
    );
  }
  try {
    await replaceFile(stateDirectory, FILE, Buffer.from(`${JSON.stringify(identity)}\n`));
  } catch (error) {
    log.warn(
      'state_identity_changed',
      `Cannot keep this node's identity in "${join(stateDirectory, FILE)}"; the next start will claim new address blocks: free space there or make it writable`,
      errorFields(error),
    );
  }
  return identity.stateId;
}

/** Undefined for what is no identity. */
export function parseStateIdentity(text: string): StateIdentity | undefined {
  try {
    const { stateId, machine } = JSON.parse(text) as Record<string, unknown>; // as: both fields are checked
    return typeof stateId === 'string' && /^[0-9a-f]{32}$/.test(stateId) && typeof machine === 'string'
      ? { stateId, machine }
      : undefined;
  } catch {
    return undefined;
  }
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').replace(/[\0\s]+$/, '');
  } catch {
    return undefined;
  }
}
