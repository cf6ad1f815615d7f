// Where in a request's work a kill landed, by what was left of it: the steps of ADD and DEL leave their marks one after another (attachments.ts,
// pod-links.ts). Pure.
import type { NodeView } from './protocol.ts';

/** In the order in which a histogram shows them. */
export const LANDINGS = [
  'while control started',
  'nothing under way',
  'ADD: before the log has it',
  'ADD: log → veth',
  'ADD: veth → alias',
  'ADD: alias → anti-spoof element',
  'ADD: element → port up',
  "ADD: port up → pod's address",
  "ADD: pod's address → routes",
  'ADD: routes → answer',
  'DEL: before anything',
  'DEL: link → element',
  'DEL: element → log',
  'DEL: log → answer',
  'CHECK',
  'GC',
  'shim: before ADD, or after',
  'shim: in ADD',
  'shim: in DEL',
  'shim: in CHECK or GC',
] as const;

export type Landing = (typeof LANDINGS)[number];

/** A request that had no answer when the kill came. */
export interface CutRequest {
  readonly command: 'ADD' | 'DEL' | 'CHECK' | 'GC';
  readonly containerId: string;
  readonly hostInterface: string;
  readonly netns: string;
}

export function landingOf(
  view: NodeView,
  { command, containerId, hostInterface, netns }: CutRequest,
): Landing {
  const isRecorded = view.records.some((record) => record.containerId === containerId);
  const port = view.ports.find(({ name }) => name === hostInterface);
  const hasElement = view.elements.includes(hostInterface);
  const pod = view.namespaces.find((namespace) => namespace.netns === netns);
  switch (command) {
    case 'ADD':
      if (!isRecorded) return 'ADD: before the log has it';
      if (port === undefined) return 'ADD: log → veth';
      if (!port.hasAlias) return 'ADD: veth → alias';
      if (!hasElement) return 'ADD: alias → anti-spoof element';
      if (!port.up) return 'ADD: element → port up';
      if (pod === undefined || pod.addresses.length === 0) return "ADD: port up → pod's address";
      return pod.hasDefaultRoute ? 'ADD: routes → answer' : "ADD: pod's address → routes";
    case 'DEL':
      if (!isRecorded) return 'DEL: log → answer';
      if (port !== undefined) return 'DEL: before anything';
      return hasElement ? 'DEL: link → element' : 'DEL: element → log';
    case 'CHECK':
    case 'GC':
      return command;
    default:
      return command satisfies never;
  }
}

/** Of several requests that one kill cut off, one was at work. The others waited: before a step, for the log or for their turn, or for their answer to be taken. */
const WAITING: readonly Landing[] = [
  'ADD: log → veth',
  'DEL: element → log',
  'ADD: routes → answer',
  'DEL: log → answer',
  'DEL: before anything',
  'ADD: before the log has it',
  'CHECK',
  'GC',
];

export const landingOfKill = (cut: readonly Landing[]): Landing =>
  cut.find((landing) => !WAITING.includes(landing)) ??
  WAITING.find((landing) => cut.includes(landing)) ??
  'nothing under way';

/** Rows of what there was. */
export function formatHistogram(landings: readonly Landing[]): string {
  const width = Math.max(...LANDINGS.map((landing) => landing.length));
  return LANDINGS.filter((landing) => landings.includes(landing))
    .map((landing) => {
      const count = landings.filter((one) => one === landing).length;
      return `  ${landing.padEnd(width)} ${String(count).padStart(5)}`;
    })
    .join('\n');
}
