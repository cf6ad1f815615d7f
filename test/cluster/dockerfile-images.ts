// Images that buildah builds by a Dockerfile: Weft's by the repository's own, as a release is, and HAProxy. A build works on a copy of
// what the Dockerfile may see (.dockerignore), so that the archive is what its key says even while sources are being edited.
import { createHash } from 'node:crypto';
import { cpSync, globSync, mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';

import { ensureImageStore } from './base-image.ts';
import { follow, say } from './building.ts';

const CHECKOUT = join(import.meta.dirname, '../..');
const PLATFORMS: Readonly<Record<string, string>> = { x64: 'linux/amd64', arm64: 'linux/arm64' };
const MOST_LAYERS = 300;
/** Last layers of builds that nothing names; the ones below that no other build has go with them. */
const OLD_ENDS = ['dangling=true', 'intermediate=false', 'until=2h'].flatMap((filter) => [
  '--filter',
  filter,
]);
const TOLD = /^(?:image .* compressed|HAProxy version .*)$/gm;

/** Copies to `folder` what a build of Weft's image sees, and returns what changes with any byte of it. */
export function copySources(folder: string): string {
  const seen = readFileSync(join(CHECKOUT, '.dockerignore'), 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('!'))
    .map((line) => line.slice(1));
  const paths = globSync(['Dockerfile', '.dockerignore', ...seen], { cwd: CHECKOUT });
  for (const path of paths) {
    cpSync(join(CHECKOUT, path), join(folder, path), {
      recursive: true,
      filter: (source) => !source.endsWith('.wasm'),
    });
  }
  const hash = createHash('sha256');
  const files = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
  for (const file of files.sort()) hash.update(`\n${file.slice(folder.length)}\n`).update(readFileSync(file));
  return hash.digest('hex').slice(0, 16);
}

export interface BuildOptions {
  /** Name with its tag. */
  readonly name: string;
  readonly dockerfile: string;
  /** Folder that the Dockerfile copies from. */
  readonly context: string;
  readonly arguments: Readonly<Record<string, string>>;
  /** Archive that is written. */
  readonly target: string;
}

/** To be called by one process at a time (whileLocked). */
export async function buildImage({
  name,
  dockerfile,
  context,
  target,
  ...options
}: BuildOptions): Promise<void> {
  const { buildah } = await ensureImageStore();
  const platform = PLATFORMS[process.arch] ?? process.arch;
  const given = { BUILDPLATFORM: platform, ...options.arguments }; // buildah before 1.29 does not know it by itself
  const output = await follow([
    ...buildah,
    ...'bud --layers --isolation chroot --pull=never --tag'.split(' '),
    name,
    ...Object.entries(given).flatMap(([argument, value]) => ['--build-arg', `${argument}=${value}`]),
    '--file',
    dockerfile,
    context,
  ]);
  for (const [line] of output.matchAll(TOLD)) say(line);
  await follow([...buildah, 'push', '--quiet', name, `docker-archive:${target}:${name}`]);
  await removeOldLayers(buildah);
}

/**
 * Each state of the sources leaves some twenty layers, 100 MB, in the store. A build that was killed leaves working containers besides,
 * which hold on to layers; nobody else builds now, so none is in use. What cannot be removed is said: the image that was asked for is made.
 */
async function removeOldLayers(buildah: readonly string[]): Promise<void> {
  const list = async (filters: readonly string[]): Promise<readonly string[]> =>
    (await follow([...buildah, 'images', '--all', '--quiet', ...filters])).split('\n').filter(Boolean);
  if ((await list([])).length <= MOST_LAYERS) return;
  try {
    await follow([...buildah, 'rm', '--all']);
    const ends = await list(OLD_ENDS);
    if (ends.length > 0) await follow([...buildah, 'rmi', ...ends]);
  } catch (error) {
    say(`old layers stay: ${error instanceof Error ? error.message : String(error)}`);
  }
}

export const WEFT_DOCKERFILE: string = join(CHECKOUT, 'Dockerfile');
export const HAPROXY_DOCKERFILE: string = join(import.meta.dirname, 'haproxy.Dockerfile');

/** Changes when HAProxy's image would come out otherwise. */
export const haproxyKey = (): string =>
  createHash('sha256').update(readFileSync(HAPROXY_DOCKERFILE)).digest('hex').slice(0, 16);

/** Version that the checkout's package.json has. */
export function checkoutVersion(): string {
  const manifest = JSON.parse(readFileSync(join(CHECKOUT, 'package.json'), 'utf8')) as { version: string }; // as: npm's form
  return manifest.version;
}

/** A folder with nothing in it, for a Dockerfile that copies nothing. */
export function emptyContext(folder: string): string {
  mkdirSync(folder, { recursive: true });
  return folder;
}
