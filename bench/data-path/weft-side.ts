// Weft as users run it: two agents of this checkout with everything on, pods attached by the CNI plugin, control alive, and beside the
// two nodes a crowd of peers that the API names and that nobody is. Their datagrams end in a black hole behind the underlay's router, so
// that probes go out to each and none is answered.
import { createHash } from 'node:crypto';

import { ENCLOSURE, runScript } from '../../test/lab/command.ts';
import type { AgentEnvironment } from '../../test/lab/agent.ts';
import type { Lab } from '../../test/lab/lab.ts';
import { CORES, type Side, processTree } from './side.ts';

const CROWD_NETWORK = '172.30.0.0/16';
const PORT = 6784;
const AT_ONCE = 32;
const BLOCK_ADDRESSES = 64;

export interface WeftOptions {
  /** Peers that nobody is. */
  readonly crowd: number;
  readonly environment?: AgentEnvironment;
}

export async function makeWeft(lab: Lab, { crowd, environment = {} }: WeftOptions): Promise<Side> {
  await runScript(ENCLOSURE, [`ip route replace blackhole ${CROWD_NETWORK}`]);
  await inviteCrowd(lab, crowd);
  const [left, right] = await Promise.all(
    CORES.map((core, index) => lab.addNode(`weft-${index + 1}`, { core, environment })),
  );
  if (left === undefined || right === undefined) throw new Error('No nodes');
  return {
    name: 'weft',
    nodes: [left.namespace, right.namespace],
    from: await left.addPod('left'),
    to: await right.addPod('right'),
    programs: () => [left, right].map(({ agent }) => processTree(agent.pidOf('keeper'))),
    close: async () => {}, // agents are the lab's
  };
}

async function inviteCrowd({ api }: Lab, crowd: number): Promise<void> {
  for (let from = 0; from < crowd; from += AT_ONCE) {
    const some = Array.from({ length: Math.min(AT_ONCE, crowd - from) }, (_, index) => from + index);
    await Promise.all(
      some.map(async (index) => {
        const name = `absent-${index}`;
        const address = `172.30.${index >> 8}.${index & 255}`;
        const nodeUid = await api.createNode(name, address);
        await api.createPeer(name, {
          nodeUid,
          addresses: [address],
          port: PORT,
          vtepMac: macOf(nodeUid),
          features: ['probe'],
          version: 'absent',
        });
        await api.createBlock(blockOf(index), { node: name, nodeUid });
      }),
    );
  }
}

const macOf = (nodeUid: string): string =>
  `0e:${createHash('sha256')
    .update(nodeUid)
    .digest('hex')
    .slice(0, 10)
    .replace(/(..)(?!$)/g, '$1:')}`;

/** From 10.33.0.0 on. */
function blockOf(index: number): string {
  const offset = index * BLOCK_ADDRESSES;
  return `10.${33 + (offset >> 16)}.${(offset >> 8) & 255}.${offset & 255}/26`;
}
