// A node with everything that the agent makes on it, for a file of contract tests: in a network namespace of the test's process.
import { after, before } from 'node:test';

import { type NodeNetwork, openNodeNetwork } from '../../agent/control/node/node-network.ts';
import { openPodGuard } from '../../agent/control/node/pod-guard.ts';
import { type PodLinks, openPodLinks } from '../../agent/control/node/pod-links.ts';
import { enterFreshNamespace, furnishNode } from './network-namespaces.ts';
import { DESIRED } from './node-fixture.ts';

export interface FurnishedNode {
  readonly network: NodeNetwork;
  readonly links: PodLinks;
  /** Host interfaces that have an anti-spoof element. */
  readonly elements: () => readonly string[];
}

/** Once per file, at its top level; furnished before the first test and closed after the last. */
export function openFurnishedNode(): FurnishedNode {
  enterFreshNamespace();
  furnishNode();
  const network = openNodeNetwork(process.env['PATH'] ?? '');
  const guard = openPodGuard();
  before(async () => {
    await network.ensure(DESIRED);
  });
  after(() => {
    network.close();
    guard.close();
  });
  return {
    network,
    links: openPodLinks(),
    elements: () => guard.list().map(({ hostInterface }) => hostInterface),
  };
}
