// Program of the init container: puts the CNI plugin into the host's folder of plugins.
//   node install-shim.js PLUGIN FOLDER
// Invariant: the runtime may execute the plugin at any moment, so it is whole at every moment: a file beside it, synced, then renamed.
import { randomUUID } from 'node:crypto';
import {
  closeSync,
  fchmodSync,
  fsyncSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';

const MODE = 0o755;

function install(plugin: string, folder: string): boolean {
  const name = basename(plugin);
  const target = join(folder, name);
  const bytes = readFileSync(plugin);
  const prefix = `.${name}-`;
  // What an installation that was killed left behind. Should one be under way, its rename fails and it is run again.
  for (const left of readdirSync(folder).filter((each) => each.startsWith(prefix))) {
    rmSync(join(folder, left), { force: true });
  }
  if (isThere(target, bytes)) return false;
  const beside = join(folder, `${prefix}${randomUUID()}`);
  const file = openSync(beside, 'wx', MODE);
  try {
    writeFileSync(file, bytes);
    fchmodSync(file, MODE); // whatever the umask
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(beside, target);
  return true;
}

function isThere(target: string, bytes: Buffer): boolean {
  try {
    return (statSync(target).mode & 0o777) === MODE && readFileSync(target).equals(bytes);
  } catch {
    return false; // it is made, and making it tells what is wrong
  }
}

const REMEDIES: Readonly<Record<string, string>> = {
  EACCES:
    'the folder must belong to root (kubespray: kube_owner: root), and SELinux must know the type spc_t',
  EPERM: 'the folder must belong to root (kubespray: kube_owner: root), and SELinux must know the type spc_t',
  EROFS: 'it is on a read-only file system: mount the folder that the container runtime has as its bin_dir',
  ENOSPC: 'make room there',
};

const [plugin, folder] = process.argv.slice(2);
if (plugin === undefined || folder === undefined) {
  console.error('Cannot install: say which plugin and where to: node install-shim.js PLUGIN FOLDER');
  process.exit(2);
}
try {
  const made = install(plugin, folder);
  console.log(`${join(folder, basename(plugin))} ${made ? 'installed' : 'is there already'}`);
} catch (error) {
  if (!(error instanceof Error) || !('code' in error)) throw error;
  const remedy = REMEDIES[String(error.code)];
  console.error(
    `Cannot install the CNI plugin into "${folder}": ${error.message}${remedy === undefined ? '' : `; ${remedy}`}`,
  );
  process.exitCode = 1;
}
