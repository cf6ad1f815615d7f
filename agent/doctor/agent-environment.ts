// Which settings are in force: the agent's, as far as its environment can be read, under those that the doctor itself was given. On the node the
// agent's paths are those of its container, so they are followed through the root of its process. Pure.
import type { Environment } from '../settings.ts';
import { SETTING_TABLE, settingOf } from '../setting-table.ts';

const PATHS: ReadonlySet<string> = new Set([
  'WEFT_RUN_DIR',
  'WEFT_STATE_DIR',
  'WEFT_CNI_CONF_DIR',
  'WEFT_CNI_BIN_DIR',
  'WEFT_CNI_TEMPLATE',
  'WEFT_READY_FILE',
]);
const SERVER = ['KUBERNETES_SERVICE_HOST', 'KUBERNETES_SERVICE_PORT'];

export interface AgentEnvironment {
  readonly variables: Readonly<Record<string, string>>;
  /** Where its files are to be found from here, such as /proc/4711/root; empty: in the same place. */
  readonly root: string;
}

/** HOSTNAME is the node's name to the agent, and to a shell on the node something else perhaps: the agent's is taken. */
export function environmentInForce(own: Environment, agent: AgentEnvironment | undefined): Environment {
  if (agent === undefined) return own;
  const { variables, root } = agent;
  const isGiven = ([, value]: readonly [string, string | undefined]): boolean =>
    value !== undefined && value !== '';
  const settings = SETTING_TABLE.map(([name]): readonly [string, string] => {
    if (!PATHS.has(name) || root === '') return [name, variables[name] ?? ''];
    const path = settingOf(variables, name);
    return [name, path === '' ? '' : root + path];
  });
  const files = (variables['KUBECONFIG'] ?? '').split(':').filter((file) => file !== '');
  const agents = Object.fromEntries(
    [
      ...settings,
      ...SERVER.map((name): readonly [string, string] => [name, variables[name] ?? '']),
      ['KUBECONFIG', files.map((file) => root + file).join(':')] as const,
      ['WEFT_SERVICE_ACCOUNT_ROOT', root || (variables['WEFT_SERVICE_ACCOUNT_ROOT'] ?? '')] as const,
    ].filter(isGiven),
  );
  const given = Object.fromEntries(Object.entries(own).filter(isGiven));
  return { ...agents, ...given, ...(agents['HOSTNAME'] ? { HOSTNAME: agents['HOSTNAME'] } : {}) };
}
