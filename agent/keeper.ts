// The agent's first process. It opens the TUN device and the tunnel's sockets, keeps them open, and starts control and the data plane
// with them; when one dies the descriptors and what is queued in them stay, and a warm spare or a new process goes on.
// It never parses a packet and never talks to the API. Invariant: the descriptors close only when the agent as a whole ends.
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import { cidrContains, formatCidr, formatIpv4 } from '../proto/address.ts';
import { openChannel } from './linux/channel.ts';
import { findNodeAddress } from './linux/node-address.ts';
import { createSharedFile } from './linux/shared-file.ts';
import { openTun } from './linux/tun.ts';
import { openReceiveSocket, openSendSocket } from './linux/udp-socket.ts';
import { STATS_BYTES } from '../proto/dataplane-stats.ts';
import { OperationError } from './operation-error.ts';
import { type Role, createRole } from './role.ts';
import { type RoleState, writeRoleStates } from './role-states.ts';
import { type Settings, parseSettings } from './settings.ts';
import { type Logger, createLogger, errorFields } from './telemetry/logger.ts';

const TUN_NAME = 'weft0';
const SEND_SOCKETS = 8;
const STOP_LIMIT_MS = 1500;
const EXIT_REFUSED = 1;

const controlMain = join(import.meta.dirname, 'control/main.ts');
const dataplaneMain = join(import.meta.dirname, 'dataplane/main.ts');

function main(): void {
  const log = createLogger({
    role: 'keeper',
    level: process.env['LOG_LEVEL'] ?? 'info',
    format: process.env['LOG_FORMAT'] === 'pretty' ? 'pretty' : 'json',
  });
  try {
    keep(resolveNodeIp(parseSettings(process.env)), log);
  } catch (error) {
    if (!(error instanceof OperationError)) throw error;
    log.error('agent_refused_to_start', error.message, { code: error.code, ...error.context });
    process.exit(EXIT_REFUSED);
  }
}

function resolveNodeIp(settings: Settings): Settings & { nodeIp: NonNullable<Settings['nodeIp']> } {
  const nodeIp = settings.nodeIp ?? findNodeAddress();
  if (cidrContains(settings.range, nodeIp)) {
    throw new OperationError(
      `Cannot use IPALLOC_RANGE="${formatCidr(settings.range)}": it overlaps the node's own address ${formatIpv4(nodeIp)}; choose a range that no host uses`,
      { code: 'SETTING_INVALID', context: { setting: 'IPALLOC_RANGE' } },
    );
  }
  return { ...settings, nodeIp };
}

function keep(settings: ReturnType<typeof resolveNodeIp>, log: Logger): void {
  mkdirSync(settings.runDirectory, { recursive: true, mode: 0o700 });
  createSharedFile(join(settings.runDirectory, 'dataplane.stats'), STATS_BYTES);
  rmSync(join(settings.runDirectory, 'dataplane.in-flight'), { force: true }); // of an agent that is gone, and long out of date
  const tun = openTun({ name: TUN_NAME });
  const receive = openReceiveSocket({ address: settings.nodeIp, port: settings.port });
  const send = Array.from({ length: SEND_SOCKETS }, () => openSendSocket({ address: settings.nodeIp }));
  const [controlEnd, dataplaneEnd] = openChannel();

  const environment = {
    ...process.env,
    WEFT_NODE_IP: formatIpv4(settings.nodeIp),
    WEFT_TUN_NAME: TUN_NAME,
    // Stripped and compiled sources are kept: a role starts in a third of the time and 30 MB smaller (without the type stripper).
    NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'] ?? join(settings.stateDirectory, 'compile-cache'),
  };
  const states = new Map<string, RoleState>();
  const changed = (state: RoleState): void => {
    states.set(state.role, state);
    try {
      writeRoleStates(join(settings.runDirectory, 'roles.json'), [...states.values()]);
    } catch (error) {
      // Only status pages and metrics read it: no reason to take the pods' network down.
      log.warn(
        'status_failed',
        'Cannot write roles.json: status and metrics show old roles',
        errorFields(error),
      );
    }
  };
  const control = createRole({
    name: 'control',
    script: controlMain,
    environment,
    descriptors: () => [controlEnd],
    spares: 0,
    log,
    changed,
  });
  const dataplane = createRole({
    name: 'dataplane',
    script: dataplaneMain,
    environment,
    descriptors: (channel) => [channel, dataplaneEnd, tun.fd, receive, ...send],
    spares: 1,
    log,
    changed,
  });
  log.info(
    'agent_started',
    `Keeping TUN "${TUN_NAME}" and UDP ${formatIpv4(settings.nodeIp)}:${settings.port}`,
    {
      node: settings.nodeName,
      offloads: tun.offloads,
    },
  );
  stopOnSignal([control, dataplane], log);
}

function stopOnSignal(roles: readonly Role[], log: Logger): void {
  let stopping = false;
  const stop = (signal: NodeJS.Signals): void => {
    if (stopping) return;
    stopping = true;
    log.info('agent_stopping', `Stopping on ${signal}`, { signal });
    const ended = Promise.all(roles.map(async (role) => role.stop(STOP_LIMIT_MS)));
    void ended.then(() => process.exit(0));
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
}

main();
