// The CNI configuration of the node: written last of all, once a pod could be attached, and left where it is when the agent stops, since
// without it a runtime cannot even delete pods. Written beside its place in the same folder and renamed: containerd never notices a
// file that comes from elsewhere. Other networks' files are left alone; one that a runtime prefers is reported.
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { OperationError, codeOf } from '../../operation-error.ts';

export interface CniConfigurationOptions {
  /** The runtime's folder for configurations, as this process sees it. */
  readonly directory: string;
  /** The runtime's folder for plugins; a plugin after the first that it does not have is left out. */
  readonly pluginDirectory: string;
  /** The configuration as the cluster's operator wrote it. */
  readonly template: string;
}

export interface CniConfigurationState {
  /** Whether the file had to be written. */
  readonly written: boolean;
  /** Plugins that were left out because the node does not have them. */
  readonly leftOut: readonly string[];
  /** Files of other networks that come before ours, so that a runtime uses the first of them instead. */
  readonly preferred: readonly string[];
  /** Files of other networks that come after ours, which a runtime does not use. */
  readonly unused: readonly string[];
}

export const CNI_CONFIGURATION_FILE = '10-weft.conflist';

/** Idempotent. Throws OperationError: CNI_TEMPLATE_INVALID, or the errno's name. */
export function ensureCniConfiguration(options: CniConfigurationOptions): CniConfigurationState {
  const { directory, pluginDirectory, template } = options;
  const configuration = readTemplate(template);
  const [first, ...others] = configuration.plugins;
  const has = ({ type }: Plugin): boolean => existsSync(join(pluginDirectory, type));
  const content = `${JSON.stringify({ ...configuration, plugins: [first, ...others.filter(has)] }, undefined, 2)}\n`;
  const path = join(directory, CNI_CONFIGURATION_FILE);
  try {
    mkdirSync(directory, { recursive: true });
    const written = current(path) !== content;
    if (written) {
      writeFileSync(`${path}.new`, content, { mode: 0o644 });
      renameSync(`${path}.new`, path);
    }
    // Sorted by bytes, as runtimes do; these three endings are a configuration's.
    const found = readdirSync(directory)
      .filter((name) => /\.(conf|conflist|json)$/.test(name))
      .sort();
    return {
      written,
      leftOut: others.filter((plugin) => !has(plugin)).map(({ type }) => type),
      preferred: found.filter((name) => name < CNI_CONFIGURATION_FILE),
      unused: found.filter((name) => name > CNI_CONFIGURATION_FILE),
    };
  } catch (error) {
    throw new OperationError(
      `Cannot write "${path}" (${codeOf(error)}): mount the node's CNI configuration folder writable into the agent`,
      { code: codeOf(error), context: { path }, cause: error },
    );
  }
}

interface Plugin {
  readonly type: string;
}

interface Configuration {
  readonly plugins: readonly Plugin[];
}

function readTemplate(path: string): Configuration {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw invalidTemplate(path, error instanceof Error ? error.message : String(error));
  }
  if (!isConfiguration(value)) throw invalidTemplate(path, 'it needs "plugins", the first of type "weft"');
  return value;
}

const invalidTemplate = (path: string, reason: string): OperationError =>
  new OperationError(
    `Cannot use the CNI configuration "${path}": ${reason}; correct the ConfigMap weft-cni`,
    {
      code: 'CNI_TEMPLATE_INVALID',
      context: { path },
    },
  );

function isConfiguration(value: unknown): value is Configuration {
  if (typeof value !== 'object' || value === null || !('plugins' in value)) return false;
  const { plugins } = value;
  return Array.isArray(plugins) && plugins.every(isPlugin) && plugins[0]?.type === 'weft';
}

const isPlugin = (value: unknown): value is Plugin =>
  typeof value === 'object' &&
  value !== null &&
  'type' in value &&
  typeof value.type === 'string' &&
  /^[\w.-]+$/.test(value.type);

function current(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
