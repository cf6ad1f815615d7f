// Every alert, in the groups that Prometheus evaluates.
import { type Alert, runbookUrl } from './alert.ts';
import { AGENT_ALERTS } from './alerts-agent.ts';
import { API_ALERTS, IPAM_ALERTS, NODE_ALERTS } from './alerts-control.ts';
import { DROP_ALERTS, PEER_ALERTS } from './alerts-packets.ts';
import type { YamlValue } from '../../agent/report/yaml.ts';

type Group = readonly [name: string, alerts: readonly Alert[]];

export const GROUPS: readonly Group[] = [
  ['weft-agent', AGENT_ALERTS],
  ['weft-peers', PEER_ALERTS],
  ['weft-drops', DROP_ALERTS],
  ['weft-api', API_ALERTS],
  ['weft-ipam', IPAM_ALERTS],
  ['weft-node', NODE_ALERTS],
];

export const ALERTS: readonly Alert[] = GROUPS.flatMap(([, alerts]) => alerts);

const rule = ({ name, expression, minutes, severity, summary, description }: Alert): YamlValue => ({
  alert: name,
  expr: expression,
  ...(minutes === 0 ? {} : { for: `${minutes}m` }),
  labels: { severity },
  annotations: { summary, description, runbook_url: runbookUrl(name) },
});

/** The body of a rules file, and the spec of a PrometheusRule. */
export const groupsOf = (groups: readonly Group[]): { readonly groups: YamlValue } => ({
  groups: groups.map(([name, alerts]) => ({ name, rules: alerts.map(rule) })),
});
