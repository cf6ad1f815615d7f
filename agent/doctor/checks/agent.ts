// Whether the agent is there and works: why not, who else is there, and what it is allowed.
import { formatCidr } from '../../../proto/address.ts';
import { rangeConflicts } from '../../control/node/range-conflicts.ts';
import type { Check, Found } from '../check.ts';
import { underlayOf } from '../expected.ts';
import type { Scene } from '../scene.ts';

export const settings: Check = {
  id: 'settings',
  finds: 'settings that cannot be used',
  why: 'the agent refuses to start with them',
  fix: 'correct them in ConfigMap/weft, then: kubectl -n weft rollout restart daemonset/weft',
  run: ({ settingsRefusal }) =>
    settingsRefusal === undefined ? [] : [{ severity: 'error', what: settingsRefusal }],
};

/** What keeps an agent from starting, as far as this node shows it. */
function obstacles(scene: Scene): readonly string[] {
  const { files, settings: inForce, kernel, nodeIp } = scene;
  const listener = scene.sockets.tcp.find(
    ({ port, owner }) => port === inForce.statusAddress.port && owner?.isAgent === false,
  );
  return [
    files.tunRefusal && `/dev/net/tun cannot be opened (${files.tunRefusal})`,
    files.state.refusal && `"${files.state.path}" cannot be written (${files.state.refusal})`,
    files.run.refusal && `"${files.run.path}" cannot be written (${files.run.refusal})`,
    nodeIp === undefined && 'there is no WEFT_NODE_IP and no default route',
    nodeIp !== undefined &&
      !kernel.missing.has('links') &&
      !kernel.missing.has('addresses') &&
      underlayOf(scene) === undefined &&
      "no interface has the node's address",
    listener && `"${listener.owner?.command}" (process ${listener.owner?.pid}) listens on its status port`,
    !kernel.missing.has('links') &&
      rangeConflicts(inForce.range, kernel).length > 0 &&
      `something overlaps the range ${formatCidr(inForce.range)} (see range_overlap)`,
  ].filter((text) => typeof text === 'string');
}

export const agentThere: Check = {
  id: 'agent',
  finds: 'no agent answers, or it cannot start',
  why: 'no pod can be attached, and what is changed on the node is not put right',
  fix: 'kubectl -n weft get pods -o wide; kubectl -n weft logs POD -c agent; docs/operations/refusals.md',
  run(scene) {
    const { agent, processes, settings: inForce } = scene;
    const where = `${inForce.statusAddress.host}:${inForce.statusAddress.port}`;
    if (agent.refusal !== undefined) {
      return [
        {
          severity: 'error',
          what: `The agent cannot start: ${agent.refusal}`,
          fix: 'do what the sentence says; the agent tries again every 3 seconds (docs/operations/refusals.md)',
        },
      ];
    }
    if (agent.silence === undefined) return [];
    const here = processes.map(({ role, pid }) => `${role} ${pid}`).join(', ');
    const found = obstacles(scene);
    const because = found.length === 0 ? '' : `; on this node ${found.join('; ')}`;
    return [
      {
        severity: 'error',
        what:
          here === ''
            ? `No agent answers at ${where} (${agent.silence}), and none of its processes runs here${because}`
            : `The agent runs (${here}) and does not answer at ${where} (${agent.silence})${because}`,
      },
    ];
  },
};

export const tunDevice: Check = {
  id: 'tun_device',
  finds: '/dev/net/tun is missing or may not be opened',
  why: "without it there is no interface to take pods' packets from; an agent that runs has it open, the next one will not start",
  fix: 'modprobe tun on the node; if it is denied, update runc or crun, or use manifests/overlays/privileged',
  run: ({ files }) =>
    files.tunRefusal === undefined
      ? []
      : [{ severity: 'error', what: `/dev/net/tun cannot be opened (${files.tunRefusal})` }],
};

const STOPPED: ReadonlySet<string> = new Set(['T', 't']);
/** The keeper opens a descriptor for each worker, each socket and each attach. */
const FEWEST_FILES = 256;
const RESTARTS = 3;

export const roles: Check = {
  id: 'agent_processes',
  finds: 'a role of the agent that is missing, stopped, or restarts',
  why: 'packets wait while no data plane works; pods are not attached while no control does',
  fix: 'kubectl -n weft logs POD -c agent tells why it ended; kubectl -n weft delete pod POD if it does not come back',
  run({ processes, agent, settingsRefusal }) {
    const found: Found[] = [];
    for (const { role, pid, state } of processes) {
      if (!STOPPED.has(state)) continue;
      found.push({
        severity: 'error',
        what: `The ${role} (process ${pid}) is stopped (state ${state}): a signal or a debugger holds it`,
        // By its name: the process id is of the container, or of the node, wherever the doctor runs.
        fix: 'kubectl -n weft exec POD -- weft doctor --fix --only agent_processes',
        repairs: [{ do: 'continue_process', pid, role }],
      });
    }
    const isSeen = processes.some(({ role }) => role === 'keeper');
    // One that cannot start has none, and says why itself.
    const mayStart = settingsRefusal === undefined && agent.refusal === undefined;
    const missing = (['control', 'dataplane'] as const).filter(
      (role) => isSeen && mayStart && !processes.some((process) => process.role === role),
    );
    for (const role of missing) found.push({ severity: 'error', what: `No process works as ${role}` });
    for (const { role, restarts } of agent.report?.roles ?? []) {
      const before = agent.earlier?.roles.find((state) => state.role === role)?.restarts ?? restarts;
      const isGrowing = restarts > before;
      if (!isGrowing && restarts < RESTARTS) continue;
      found.push({
        severity: isGrowing ? 'error' : 'warning',
        what: `The ${role} was restarted ${restarts} times since the agent started${isGrowing ? ', just now again' : ''}`,
      });
    }
    const workers = processes.filter(({ role }) => role === 'dataplane').length;
    if (isSeen && workers === 1) {
      found.push({
        severity: 'warning',
        what: 'The data plane has one process and no spare that waits',
        why: 'if it ends now, packets wait until another one has started instead of going on at once',
      });
    }
    return found;
  },
};

export const limits: Check = {
  id: 'agent_limits',
  finds: 'low limits of processes, files or memory of the agent',
  why: 'a role that is restarted needs a few processes, files and some memory at once',
  fix: "raise the kubelet's podPidsLimit, the runtime's file limit, or the memory limit of DaemonSet/weft",
  run({ counters: { cgroup }, processes }) {
    const { pidsMax, pidsCurrent = 0, memoryMax, memoryCurrent = 0, oomKills = 0 } = cgroup;
    const found: Found[] = [];
    if (pidsMax !== undefined && pidsMax - pidsCurrent < 20) {
      found.push({
        severity: 'warning',
        what: `The agent has ${pidsCurrent} of ${pidsMax} processes and threads (pids.max)`,
      });
    }
    if (memoryMax !== undefined && memoryCurrent > memoryMax * 0.97) {
      found.push({
        severity: 'warning',
        what: `The agent has ${mebibytes(memoryCurrent)} of ${mebibytes(memoryMax)} of memory (memory.max)`,
      });
    }
    if (oomKills > 0) {
      found.push({
        severity: 'error',
        what: `The kernel has ended ${oomKills} processes of the agent for want of memory (limit ${memoryMax === undefined ? 'of the node' : mebibytes(memoryMax)})`,
      });
    }
    const keeper = processes.find(({ role }) => role === 'keeper');
    if (keeper?.openFilesLimit !== undefined && keeper.openFilesLimit < FEWEST_FILES) {
      found.push({ severity: 'warning', what: `The agent may open ${keeper.openFilesLimit} files` });
    }
    return found;
  },
};

const mebibytes = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MiB`;

export const twoAgents: Check = {
  id: 'two_agents',
  finds: 'two agents on one node',
  why: 'both would put the node right in their own way; an upgrade has two for a minute',
  fix: 'kubectl -n weft get pods -o wide: delete the one that is not of DaemonSet/weft, or end the process',
  run({ processes, sockets, settings: inForce }) {
    const keepers = processes.filter(({ role }) => role === 'keeper').map(({ pid }) => pid);
    const listeners = new Set(
      sockets.tcp.filter(({ port }) => port === inForce.statusAddress.port).map(({ inode }) => inode),
    ).size;
    if (keepers.length < 2 && listeners < 2) return [];
    const who = keepers.length > 1 ? ` (keepers ${keepers.join(', ')})` : '';
    return [
      { severity: 'warning', what: `${Math.max(keepers.length, listeners)} agents run on this node${who}` },
    ];
  },
};

export const AGENT_CHECKS: readonly Check[] = [settings, agentThere, tunDevice, roles, twoAgents, limits];
