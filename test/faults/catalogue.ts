// All faults of the tour. The last ones leave traces for as long as the agent lives, or make it start anew.
import { AGENT_FAULTS } from './catalogue/agent.ts';
import { CLUSTER_FAULTS } from './catalogue/cluster.ts';
import { KERNEL_FAULTS } from './catalogue/kernel.ts';
import { UNDERLAY_FAULTS } from './catalogue/underlay.ts';
import type { Fault } from './fault.ts';
import type { Stage } from './stage.ts';

const FAULTS: readonly Fault[] = [...UNDERLAY_FAULTS, ...CLUSTER_FAULTS, ...KERNEL_FAULTS, ...AGENT_FAULTS];

export const faultsFor = (kind: Stage['kind'], names: readonly string[]): readonly Fault[] => {
  const unknown = names.filter((name) => FAULTS.every((fault) => fault.name !== name));
  if (unknown.length > 0)
    throw new Error(
      `There is no fault "${unknown.join('", "')}"; there is: ${FAULTS.map(({ name }) => name).join(', ')}`,
    );
  return FAULTS.filter(
    ({ only, name }) => (only === undefined || only === kind) && (names.length === 0 || names.includes(name)),
  );
};
