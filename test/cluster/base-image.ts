// The base image that the Dockerfile names, made here without a registry: Debian bookworm by mmdebstrap, the Node that runs this, and npm.
// It gets what this machine's own apt and npm need to reach theirs (mirror, proxies, certificates): it is for builds on this machine
// alone, is kept in a buildah store of its own beside the compiled programs, and nothing of it is in the images that are built on it.
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';

import { cacheFolder, follow, say, seconds } from './building.ts';

const BASE_IMAGE = 'docker.io/library/node:24-bookworm-slim';
const DEBIAN = 'bookworm';
const DEBIAN_MIRROR = `deb http://deb.debian.org/debian ${DEBIAN} main`;
const NPM = 'npm@11.21.2';
/** Counted up when the base is made in another way. */
const RECIPE = 1;
const CERTIFICATES = '/etc/ssl/certs/ca-certificates.crt';
const NPM_SETTINGS = ['registry', 'proxy', 'https-proxy', 'noproxy', 'strict-ssl'];
const STORES = 'store-';

/** A buildah store that has the base image. */
export interface ImageStore {
  /** buildah with the options that name the store. */
  readonly buildah: readonly string[];
  /** Changes with the base image. */
  readonly key: string;
}

/** What of this machine goes into the base. */
interface MachineSettings {
  readonly aptSources: readonly string[];
  readonly aptOptions: string;
  readonly npmSettings: string;
  readonly certificates: string | undefined;
}

const matching = (text: string, pattern: RegExp): readonly string[] =>
  text.split('\n').filter((line) => pattern.test(line));

async function machineSettings(): Promise<MachineSettings> {
  const targets = await follow([
    'apt-get',
    'indextargets',
    '--format',
    'deb $(REPO_URI) $(RELEASE) $(COMPONENT)',
    'Created-By: Packages',
    'Origin: Debian',
  ]);
  const sources = matching(targets, new RegExp(`^deb \\S+ ${DEBIAN}(?:-updates|-security)? main$`));
  const npmSettings: string[] = [];
  for (const name of NPM_SETTINGS) {
    const [value = ''] = matching(await follow(['npm', 'config', 'get', name, '--loglevel=silent']), /./);
    if (value !== '' && value !== 'null' && value !== 'undefined') npmSettings.push(`${name}=${value}\n`);
  }
  const certificates = [process.env['SSL_CERT_FILE'], process.env['NODE_EXTRA_CA_CERTS'], CERTIFICATES];
  return {
    aptSources: sources.length === 0 ? [DEBIAN_MIRROR] : [...new Set(sources)],
    aptOptions: matching(
      await follow(['apt-config', 'dump', 'Acquire']),
      /^Acquire::(?:https?::|Check-|Retries|ForceIP)/,
    ).join('\n'),
    npmSettings: npmSettings.join(''),
    certificates: certificates.find((path) => path !== undefined && existsSync(path)),
  };
}

/** Makes the base image unless it is there. To be called by one process at a time (whileLocked). */
export async function ensureImageStore(): Promise<ImageStore> {
  const settings = await machineSettings();
  const { certificates } = settings;
  const key = createHash('sha256')
    .update(JSON.stringify([RECIPE, NPM, process.version, process.arch, settings]))
    .update(certificates === undefined ? '' : readFileSync(certificates))
    .digest('hex')
    .slice(0, 16);
  const folder = cacheFolder('images', `${STORES}${key}`);
  const store = {
    key,
    buildah: ['buildah', '--root', join(folder, 'root'), '--runroot', join(folder, 'run')],
  };
  const made = join(folder, 'made');
  if (existsSync(made)) return store;
  // A store that nothing asks for any more has gigabytes; one that was not finished is begun again.
  for (const name of readdirSync(cacheFolder('images')).filter((each) => each.startsWith(STORES))) {
    rmSync(cacheFolder('images', name), { recursive: true });
  }
  const start = performance.now();
  say(`making the base image ${BASE_IMAGE} from Debian's packages; this happens once`);
  await makeBaseImage(store, { folder, settings });
  writeFileSync(made, '');
  say(`base image made in ${seconds(start)} s`);
  return store;
}

async function makeBaseImage(
  { buildah }: ImageStore,
  { folder, settings }: { folder: string; settings: MachineSettings },
): Promise<void> {
  const work = join(folder, 'work');
  const added = join(work, 'added');
  const context = join(work, 'context');
  for (const each of ['etc/ssl/certs', 'usr/local/bin', 'usr/local/etc']) {
    mkdirSync(join(added, each), { recursive: true });
  }
  mkdirSync(context);
  const npmOptions = '--no-audit --no-fund --no-update-notifier --loglevel=error'.split(' ');
  await follow(['npm', 'install', '--global', '--prefix', join(added, 'usr/local'), ...npmOptions, NPM]);
  copyFileSync(process.execPath, join(added, 'usr/local/bin/node'));
  writeFileSync(join(added, 'usr/local/etc/npmrc'), settings.npmSettings);
  if (settings.certificates !== undefined) copyFileSync(settings.certificates, join(added, CERTIFICATES));
  writeFileSync(join(work, 'apt.conf'), settings.aptOptions);
  await follow([
    'mmdebstrap',
    '--variant=minbase',
    `--aptopt=${join(work, 'apt.conf')}`,
    `--customize-hook=sync-in ${added} /`,
    DEBIAN,
    join(context, 'base.tar'),
    ...settings.aptSources,
  ]);
  const environment = ['NODE_EXTRA_CA_CERTS', 'SSL_CERT_FILE'].map((name) => `${name}=${CERTIFICATES}`);
  writeFileSync(
    join(work, 'Dockerfile'),
    [
      'FROM scratch',
      'ADD base.tar /',
      ...(settings.certificates === undefined ? [] : [`ENV ${environment.join(' ')}`]),
      '',
    ].join('\n'),
  );
  const file = join(work, 'Dockerfile');
  await follow([...buildah, 'bud', '--isolation', 'chroot', '--tag', BASE_IMAGE, '--file', file, context]);
  rmSync(work, { recursive: true });
}
