// Faults of the agent's own surroundings on the node: its disk, its clock, its processes, its configuration.
import { condition } from '../../lab/condition.ts';
import { runScript } from '../../lab/command.ts';
import type { Fault } from '../fault.ts';
import { LAB_CNI_FOLDER } from '../lab-stage.ts';
import type { StageNode } from '../stage.ts';

const signal = (pid: number, name: NodeJS.Signals): void => {
  if (pid === 0) throw new Error('There is no such process');
  process.kill(pid, name);
};

/** As the runtime sees it. */
const CNI = '/etc/cni/net.d';

export const AGENT_FAULTS: readonly Fault[] = [
  {
    name: 'disk-full',
    what: 'the disk of the state directory is full',
    at: 0,
    only: 'lab', // whose state directory is a file system of its own
    inject: async ({ nodes: [{ place }] }) => {
      await runScript(place, [
        'mount -o remount,size=$(($(du -sk /var/lib/weft | cut -f 1) + 8))k /var/lib/weft',
        'dd if=/dev/zero of=/var/lib/weft/filler bs=1k 2>/dev/null || true',
      ]);
      return async () => {
        await runScript(place, ['rm -f /var/lib/weft/filler', 'mount -o remount,size=50% /var/lib/weft']);
      };
    },
    check: 'state_directory',
    says: /has 0 KiB left/,
  },
  {
    name: 'clock-back',
    what: "the node's clock was set back by two hours",
    at: 0,
    // As the files look then: the kernel's clock is one for all namespaces of the machine.
    inject: async ({ nodes: [{ place }] }) => {
      await runScript(place, ['touch -d "+2 hours" /var/lib/weft/snapshot.json']);
      return async () => {
        await runScript(place, ['touch /var/lib/weft/snapshot.json']);
      };
    },
    check: 'clock',
    says: /clock was set back/,
  },
  {
    name: 'snapshot-damaged',
    what: 'the last-known state on disk is damaged',
    at: 0,
    inject: async ({ nodes: [{ place }] }) => {
      await runScript(place, [
        'cp -p /var/lib/weft/snapshot.json /var/lib/weft/snapshot.kept',
        'truncate -s 100 /var/lib/weft/snapshot.json',
      ]);
      return async () => {
        await runScript(place, ['mv /var/lib/weft/snapshot.kept /var/lib/weft/snapshot.json']);
      };
    },
    check: 'snapshot',
    says: /cannot be used/,
  },
  {
    name: 'tun-missing',
    what: '/dev/net/tun is gone, as after an upgrade of the kernel without its modules',
    at: 0,
    only: 'lab', // a container has its own
    inject: async ({ nodes: [{ place }] }) => {
      await runScript(place, ['mount -t tmpfs -o mode=755 no-tun /dev/net']);
      return async () => {
        await runScript(place, ['umount /dev/net']);
      };
    },
    check: 'tun_device',
    says: /ENOENT/,
  },
  {
    name: 'cni-overruled',
    what: "another network's CNI configuration comes first",
    at: 0,
    inject: async ({ nodes: [here] }) => {
      const file = `${cniFolder(here)}/00-other.conflist`;
      const text = '{"cniVersion":"1.0.0","name":"other","plugins":[{"type":"bridge"}]}';
      await runScript(here.place, [`echo '${text}' >${file}`]);
      return async () => {
        await runScript(here.place, [`rm ${file}`]);
      };
    },
    check: 'cni',
    says: /00-other\.conflist/,
    metric: 'weft_trouble{code="CNI_OVERRULED"}',
    log: { event: 'cni_configuration_foreign', message: /00-other/ },
  },
  {
    name: 'plugin-missing',
    what: 'the CNI plugin is not on the node any more',
    at: 0,
    only: 'cluster',
    inject: async ({ nodes: [{ place }] }) => {
      await runScript(place, ['mv /opt/cni/bin/weft /opt/cni/bin/weft.away']);
      return async () => {
        await runScript(place, ['mv /opt/cni/bin/weft.away /opt/cni/bin/weft']);
      };
    },
    check: 'cni',
    says: /\/weft" is missing/,
  },
  {
    name: 'data-plane-stopped',
    what: 'the data plane does not run: a debugger or a signal holds it',
    at: 0,
    inject: async ({ nodes: [{ pidOf }] }) => {
      const pid = pidOf('dataplane');
      signal(pid, 'SIGSTOP');
      return async () => signal(pid, 'SIGCONT');
    },
    check: 'agent_processes',
    says: /is stopped/,
    metric: 'weave_connections{state="failed"}',
    log: { event: 'connection_failed', message: /"node-2"/ },
  },
  {
    name: 'data-plane-dies',
    what: 'the data plane dies again and again',
    at: 0,
    inject: async ({ nodes: [{ pidOf }] }) => {
      let last = 0;
      for (let kill = 0; kill < 3; kill++) {
        const killed = last;
        last = await condition(() => [pidOf('dataplane')].find((pid) => pid !== 0 && pid !== killed), {
          what: 'a data plane to kill',
        });
        signal(last, 'SIGKILL');
      }
      return () => Promise.resolve();
    },
    check: 'agent_processes',
    says: /dataplane was restarted \d+ times/,
    metric: 'weft_role_restarts_total{role="dataplane"}',
    healsInSeconds: 0, // it is told as long as the agent lives
  },
  {
    name: 'two-agents',
    what: 'a second agent is started on the node by hand',
    at: 0,
    only: 'lab',
    inject: async ({ nodes: [here] }) =>
      here.startSecondAgent?.() ?? Promise.reject(new Error('No second agent')),
    check: 'two_agents',
    says: /2 agents run on this node/,
    healsInSeconds: 90,
  },
];

const cniFolder = ({ kind }: Pick<StageNode, 'kind'>): string => (kind === 'lab' ? LAB_CNI_FOLDER : CNI);
