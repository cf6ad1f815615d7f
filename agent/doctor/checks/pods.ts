// Pods' ports on the bridge, the records of their addresses, and the anti-spoof set, held against each other.
import { formatIpv4, formatMac } from '../../../proto/address.ts';
import type { LinkChange } from '../../../proto/rtnetlink-link.ts';
import { changeNeeded } from '../../linux/interface.ts';
import { podMacOf } from '../../control/node/pod-ports.ts';
import { BRIDGE } from '../../control/node/range-conflicts.ts';
import { PORT_SETTINGS } from '../../control/node/port-upkeep.ts';
import type { Check, Found } from '../check.ts';
import { bridgeOf, podPorts } from '../expected.ts';
import type { Repair } from '../repair.ts';

const MOST_TOLD = 5;

/** The first ones, and how many more there are; what puts right those goes with the last one that is told. */
function bounded(found: readonly Found[]): readonly Found[] {
  const last = found[MOST_TOLD - 1];
  if (last === undefined || found.length === MOST_TOLD) return found;
  const more = found.length - MOST_TOLD;
  return [
    ...found.slice(0, MOST_TOLD - 1),
    {
      ...last,
      what: `${last.what} (and ${more} more like it; "weft doctor" shows them when these are put right)`,
      repairs: found.slice(MOST_TOLD - 1).flatMap(({ repairs }) => repairs ?? []),
    },
  ];
}

export const ports: Check = {
  id: 'pod_ports',
  finds: "a pod's interface that is down, off the bridge, isolated or without hairpin mode",
  why: 'that pod reaches nothing, or not itself by a Service',
  fix: 'the agent puts it right within seconds; if it does not, see the finding about the agent, or run with --fix',
  run(scene) {
    const bridge = bridgeOf(scene);
    if (bridge === undefined) return [];
    return bounded(
      podPorts(scene).flatMap(({ link, address }): readonly Found[] => {
        const name = `"${link.name}" of the pod ${formatIpv4(address)}`;
        const repair = (change: LinkChange): Repair => ({
          do: 'set_link',
          name: link.name,
          change,
        });
        if (link.master !== bridge.index) {
          return [
            {
              severity: 'error',
              what: `Interface ${name} is no port of bridge "${BRIDGE}"`,
              fix: `ip link set ${link.name} master ${BRIDGE}; the agent does it by itself`,
              repairs: [repair({ master: bridge.index })],
            },
          ];
        }
        const change = changeNeeded(link, { up: true, port: PORT_SETTINGS });
        if (change === undefined) return [];
        const settings = Object.entries(change.port ?? {}).map(
          ([setting, value]) => `${setting} is ${1 - value} instead of ${value}`,
        );
        const words = [...(change.up === undefined ? [] : ['it is down']), ...settings];
        return [
          { severity: 'error', what: `Interface ${name}: ${words.join(', ')}`, repairs: [repair(change)] },
        ];
      }),
    );
  },
};

export const guard: Check = {
  id: 'pod_guard',
  finds: 'a pod whose element is missing in the anti-spoof set',
  why: 'every packet that the pod sends is refused as forged',
  fix: 'the agent restores it within seconds; if it does not, see the finding about the agent, or run with --fix',
  run(scene) {
    const { pods } = scene;
    if (pods === undefined) return [];
    return bounded(
      podPorts(scene).flatMap(({ link, alias, address }): readonly Found[] => {
        const element = { hostInterface: link.name, mac: podMacOf(alias), address };
        const isThere = pods.some(
          ({ hostInterface, mac, address: allowed }) =>
            hostInterface === element.hostInterface && mac === element.mac && allowed === address,
        );
        if (isThere) return [];
        return [
          {
            severity: 'error',
            what: `The pod ${formatIpv4(address)} (${link.name}, ${formatMac(element.mac)}) is not in nftables set "bridge weft pods"`,
            repairs: [{ do: 'allow_pod', element }],
          },
        ];
      }),
    );
  },
};

export const records: Check = {
  id: 'pod_records',
  finds: 'allocations without a pod, pods without an allocation, and addresses that two pods have',
  why: 'an address that is held by nobody is lost to others, one that is held twice answers for the wrong pod',
  fix: 'the agent frees a leaked address within a minute or so; a pod of a doubled address has to be deleted',
  needs: ['links'],
  run(scene) {
    const { report, earlier } = scene.agent;
    const found: Found[] = [];
    const present = podPorts(scene);
    const byAddress = Map.groupBy(present, ({ address }) => address);
    for (const [address, pair] of byAddress) {
      const names = new Set(pair.map(({ link }) => link.name));
      if (names.size < 2) continue;
      found.push({
        severity: 'error',
        what: `${names.size} pods of this node have the address ${formatIpv4(address)}: ${[...names].join(', ')}`,
        fix: 'delete one of the pods; and report it with "weft report": it should not be possible',
      });
    }
    if (report === undefined || earlier === undefined) return found;
    const shown = new Set(present.map(({ address }) => formatIpv4(address)));
    const recorded = new Set(report.ipam.allocations.map(({ address }) => address));
    const before = new Set(earlier.ipam.allocations.map(({ address }) => address));
    // In both looks, so that an attach or a delete in between is no finding.
    for (const { address, podName, containerId } of report.ipam.allocations) {
      if (shown.has(address) || !before.has(address)) continue;
      found.push({
        severity: 'warning',
        what: `The address ${address} is allocated to "${podName ?? containerId.slice(0, 12)}" and no interface has it`,
      });
    }
    for (const { link, address } of present) {
      const text = formatIpv4(address);
      if (recorded.has(text) || before.has(text)) continue;
      found.push({
        severity: 'error',
        what: `Interface "${link.name}" has the address ${text}, of which the agent has no record`,
        why: 'the address may be given to another pod',
        fix: 'kubectl -n weft delete pod POD: its start takes the record from the interface',
      });
    }
    return bounded(found);
  },
};

export const POD_CHECKS: readonly Check[] = [ports, guard, records];
