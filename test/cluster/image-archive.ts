// Container images without a registry: folders become layers of a docker-archive, the format that every runtime imports. The same
// folders give the same bytes (sorted, no times, owner root), so an image that is unchanged has the same digest.
import { createHash } from 'node:crypto';
import { createReadStream, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';

import { ENCLOSURE, runCommand } from '../lab/command.ts';

export interface ImageConfig {
  readonly Entrypoint?: readonly string[];
  readonly Cmd?: readonly string[];
  readonly Env?: readonly string[];
  /** For a program that, as the first process, would not hear of SIGTERM. */
  readonly StopSignal?: string;
}

export interface ImageArchive {
  /** Name with its tag. */
  readonly name: string;
  /** A folder for each layer, the lowest first. */
  readonly layers: readonly string[];
  readonly config: ImageConfig;
  readonly target: string;
}

const ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' };

async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}

const TAR = 'tar --format=gnu --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner'.split(' ');

export async function writeImageArchive({ name, layers, config, target }: ImageArchive): Promise<void> {
  const work = `${target}.work`;
  mkdirSync(work, { recursive: true });
  try {
    const digests: string[] = [];
    for (const [index, folder] of layers.entries()) {
      const layer = join(work, `layer-${index}.tar`);
      await runCommand(ENCLOSURE, [...TAR, '-C', folder, '-cf', layer, '.']);
      digests.push(`sha256:${await sha256OfFile(layer)}`);
    }
    const image = {
      architecture: ARCHITECTURES[process.arch] ?? process.arch,
      os: 'linux',
      config,
      rootfs: { type: 'layers', diff_ids: digests },
    };
    const manifest = [
      { Config: 'config.json', RepoTags: [name], Layers: layers.map((_, index) => `layer-${index}.tar`) },
    ];
    writeFileSync(join(work, 'config.json'), JSON.stringify(image));
    writeFileSync(join(work, 'manifest.json'), JSON.stringify(manifest));
    await runCommand(ENCLOSURE, [...TAR, '-C', work, '-cf', target, '.']);
  } finally {
    rmSync(work, { recursive: true });
  }
}
