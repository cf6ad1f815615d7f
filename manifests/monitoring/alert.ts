// What an alert is. The tables of alerts (alerts-*.ts) are the one source: generate.ts makes of them the plain file of Prometheus rules and
// the PrometheusRule object. Summaries say where and how much; descriptions what to do, and are the same for every node.

export interface Alert {
  /** Also the heading of its section in docs/operations/alerts.md. */
  readonly name: string;
  /** PromQL, on one line. */
  readonly expression: string;
  /** How long it must hold; 0: told at once. */
  readonly minutes: number;
  /** critical: pods are cut off or cannot start, now; warning: see to it today; info: know it. */
  readonly severity: 'critical' | 'warning' | 'info';
  /** One sentence of Prometheus' template language. */
  readonly summary: string;
  /** What to do, without templates. */
  readonly description: string;
}

/** Relative to the repository. */
const RUNBOOKS = 'docs/operations/alerts.md';

export const runbookUrl = (name: string): string => `${RUNBOOKS}#${name.toLowerCase()}`;

/** Scrapes of agents: the PodMonitor's job, and that of the ServiceMonitor with Weave's names. */
export const AGENTS = 'job=~"weft|weave-net"';

/** The node of a series; a scrape that does not set the label has the address. */
export const NODE = '{{ or $labels.node $labels.instance }}';

/** An agent that is being replaced has two pods on the node, for as long as the roll-out is stuck, and series of both. */
export const PER_NODE = 'by (node, instance)';

/** Both pods are answered by one of the two agents: what is added up or counted is taken once. */
export const once = (series: string): string => `max without (pod) (${series})`;

/** The first three nodes that have a series about the peer, in words; `%s` in the selector is the peer. */
export const seenBy = (selector: string): string =>
  `{{ range $at, $from := printf "topk(3, ${once(selector)})" $labels.peer | query }}{{ if $at }}, {{ end }}{{ or .Labels.node .Labels.instance }}{{ end }}`;
