// Keeps the node's CNI configuration in place while pods can be attached, and says each change and each problem once: in the log, and as
// a trouble for the status pages and an Event.
import type { Settings } from '../../settings.ts';
import { type Logger, errorFields } from '../../telemetry/logger.ts';
import { type Trouble, troubleOf } from '../trouble.ts';
import {
  CNI_CONFIGURATION_FILE,
  type CniConfigurationState,
  ensureCniConfiguration,
} from './cni-configuration.ts';

export type ConfigurationSettings = Pick<Settings, 'cniDirectory' | 'cniPluginDirectory' | 'cniTemplate'>;

export interface ConfigurationKeeper {
  /** To be called when the node is ready, and at every sweep. */
  ensure(): void;
  /** Why the runtime does not attach pods by Weft, though it could; undefined: it does. */
  trouble(): Trouble | undefined;
}

export function createConfigurationKeeper(settings: ConfigurationSettings, log: Logger): ConfigurationKeeper {
  let trouble: Trouble | undefined;
  let toldUnused = '';

  const tellUnused = ({ unused }: CniConfigurationState): void => {
    const names = quoted(unused);
    if (names !== toldUnused && unused.length > 0) {
      log.info(
        'cni_configuration_foreign',
        `Left alone, and not used by the runtime since "${CNI_CONFIGURATION_FILE}" comes first: ${names}; remove from the node's CNI configuration folder what is no longer wanted`,
      );
    }
    toldUnused = names;
  };

  /** Undefined: it is in place, and the runtime uses it. */
  const keep = (): Trouble | undefined => {
    const { cniDirectory, cniPluginDirectory, cniTemplate } = settings;
    if (cniDirectory === undefined) return undefined;
    try {
      const state = ensureCniConfiguration({
        directory: cniDirectory,
        pluginDirectory: cniPluginDirectory,
        template: cniTemplate,
      });
      if (state.written) {
        log.info('cni_configuration_written', `Wrote ${CNI_CONFIGURATION_FILE} to "${cniDirectory}"`, {
          plugins_left_out: state.leftOut.length === 0 ? undefined : state.leftOut.join(' '),
        });
      }
      tellUnused(state);
      const found = overruled(state);
      if (found === undefined && trouble !== undefined) {
        log.info(
          'cni_configuration_effective',
          `The runtime attaches pods by "${CNI_CONFIGURATION_FILE}" again`,
        );
      }
      if (found !== undefined && found.message !== trouble?.message) {
        log.warn('cni_configuration_foreign', found.message, { code: found.code });
      }
      return found;
    } catch (error) {
      const found = troubleOf(error);
      if (found.message !== trouble?.message) {
        log.error('cni_configuration_failed', found.message, errorFields(error));
      }
      return found;
    }
  };

  return {
    ensure() {
      trouble = keep();
    },
    trouble: () => trouble,
  };
}

const quoted = (names: readonly string[]): string => names.map((name) => `"${name}"`).join(', ');

function overruled({ preferred }: CniConfigurationState): Trouble | undefined {
  const [first, ...others] = preferred;
  if (first === undefined) return undefined;
  const also = others.length === 0 ? '' : `, then ${quoted(others)}`;
  return {
    code: 'CNI_OVERRULED',
    message: `The runtime attaches new pods by "${first}"${also} and not by Weft: it uses the first file of the node's CNI configuration folder, and "${CNI_CONFIGURATION_FILE}" comes after it; remove it there when that network is no longer wanted`,
  };
}
