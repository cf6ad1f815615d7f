// Keeps the node's CNI configuration in place while pods can be attached, and says each change and each problem once.
import type { Settings } from '../../settings.ts';
import { type Logger, errorFields } from '../../telemetry/logger.ts';
import { CNI_CONFIGURATION_FILE, ensureCniConfiguration } from './cni-configuration.ts';

export type ConfigurationSettings = Pick<Settings, 'cniDirectory' | 'cniPluginDirectory' | 'cniTemplate'>;

/** Returns what puts it in place; to be called when the node is ready, and at every sweep. */
export function createConfigurationKeeper(settings: ConfigurationSettings, log: Logger): () => void {
  let told = '';
  const tellOnce = (text: string, tell: () => void): void => {
    if (text !== told) tell();
    told = text;
  };
  return () => {
    const { cniDirectory, cniPluginDirectory, cniTemplate } = settings;
    if (cniDirectory === undefined) return;
    try {
      const state = ensureCniConfiguration({
        directory: cniDirectory,
        pluginDirectory: cniPluginDirectory,
        template: cniTemplate,
      });
      if (state.written) {
        log.info('cni_configuration_written', `Wrote ${CNI_CONFIGURATION_FILE} to "${cniDirectory}"`, {
          left_out: state.leftOut.join(' '),
        });
      }
      tellOnce(state.preferred.join(', '), () => {
        if (state.preferred.length === 0) return;
        log.warn(
          'cni_configuration_failed',
          `The runtime uses ${state.preferred.join(', ')} in place of Weft: remove it from the node's CNI configuration folder when its network is no longer wanted`,
        );
      });
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      tellOnce(message, () => log.error('cni_configuration_failed', message, errorFields(error)));
    }
  };
}
