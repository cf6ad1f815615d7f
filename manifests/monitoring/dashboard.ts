// The Grafana dashboard, as Grafana imports it, from what the rows say: places, variables, and the fields that Grafana wants.
import { AGENT_ROWS } from './dashboard-agent-rows.ts';
import { NETWORK_ROWS } from './dashboard-network-rows.ts';
import type { Panel } from './dashboard-panels.ts';

const WIDTH = 24;
const HEIGHT: Readonly<Record<Panel['kind'], number>> = { graph: 8, number: 4, table: 8 };
const TYPES: Readonly<Record<Panel['kind'], string>> = {
  graph: 'timeseries',
  number: 'stat',
  table: 'table',
};
const DATA_SOURCE = { type: 'prometheus', uid: '${datasource}' };

interface Place {
  readonly x: number;
  readonly y: number;
  readonly w: number;
  readonly h: number;
}

const OPTIONS: Readonly<Record<Panel['kind'], object>> = {
  graph: {
    legend: { displayMode: 'list', placement: 'bottom', showLegend: true },
    tooltip: { mode: 'multi', sort: 'desc' },
  },
  number: { colorMode: 'none', graphMode: 'area', reduceOptions: { calcs: ['lastNotNull'] } },
  table: { showHeader: true },
};

const panelOf = (panel: Panel, { id, place }: { id: number; place: Place }): object => ({
  id,
  type: TYPES[panel.kind],
  title: panel.title,
  description: panel.description,
  datasource: DATA_SOURCE,
  gridPos: place,
  fieldConfig: { defaults: { unit: panel.unit, min: 0 }, overrides: [] },
  options: OPTIONS[panel.kind],
  targets: panel.queries.map(({ expression, legend }, at) => ({
    refId: String.fromCodePoint(65 + at),
    datasource: DATA_SOURCE,
    expr: expression,
    legendFormat: legend,
    ...(panel.kind === 'table' ? { format: 'table', instant: true } : {}),
  })),
});

/** From left to right, and in a new line where the width is used up. */
function panels(): readonly object[] {
  const placed: object[] = [];
  let y = 0;
  for (const row of [...NETWORK_ROWS, ...AGENT_ROWS]) {
    placed.push({
      id: placed.length + 1,
      type: 'row',
      title: row.title,
      collapsed: false,
      gridPos: { x: 0, y, w: WIDTH, h: 1 },
      panels: [],
    });
    y += 1;
    let x = 0;
    let lineHeight = 0;
    for (const panel of row.panels) {
      const h = HEIGHT[panel.kind];
      if (x + panel.width > WIDTH) {
        x = 0;
        y += lineHeight;
        lineHeight = 0;
      }
      placed.push(panelOf(panel, { id: placed.length + 1, place: { x, y, w: panel.width, h } }));
      x += panel.width;
      lineHeight = Math.max(lineHeight, h);
    }
    y += lineHeight;
  }
  return placed;
}

/** Of many values, or all of them. */
const variable = (name: string, query: string): object => ({
  name,
  label: name,
  type: 'query',
  datasource: DATA_SOURCE,
  definition: query,
  query: { query, refId: name },
  refresh: 2,
  sort: 1,
  multi: true,
  includeAll: true,
  allValue: '.*',
  current: { text: ['All'], value: ['$__all'] },
});

export const dashboard = (): object => ({
  uid: 'weft',
  title: 'Weft',
  description: 'Pod network: agents, peers, packets, addresses. docs/operations/monitoring.md',
  tags: ['kubernetes', 'network', 'weft'],
  editable: true,
  graphTooltip: 1,
  schemaVersion: 39,
  version: 1,
  refresh: '30s',
  time: { from: 'now-3h', to: 'now' },
  timezone: 'browser',
  annotations: { list: [] },
  links: [],
  templating: {
    list: [
      { name: 'datasource', label: 'Prometheus', type: 'datasource', query: 'prometheus', refresh: 1 },
      variable('node', 'label_values(weft_build_info, node)'),
      variable('peer', 'label_values(weft_packets_total{node=~"$node"}, peer)'),
    ],
  },
  panels: panels(),
});
