// A keeper for the data plane's contract tests: opens TUN and sockets in the network namespace that it was started in and runs the real
// role with its spare. argv: run directory, node address, port. stdin: "kill" ends the active process with -9, "table" tells the active
// one to read its table again, end of input drains everything (nothing is killed). stdout: one line per event.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { argv, stdin } from 'node:process';
import { createInterface } from 'node:readline';

import { openChannel, sendText } from '../../agent/linux/channel.ts';
import { createSharedFile } from '../../agent/linux/shared-file.ts';
import { openTun } from '../../agent/linux/tun.ts';
import { openReceiveSocket, openSendSocket } from '../../agent/linux/udp-socket.ts';
import { type RoleOptions, createRole } from '../../agent/role.ts';
import { parseIpv4 } from '../../proto/address-text.ts';
import { STATS_BYTES, STATS_FILE } from '../../proto/dataplane-stats.ts';

const [, , runDirectory = '', address = '', port = ''] = argv;
mkdirSync(runDirectory, { recursive: true });
createSharedFile(join(runDirectory, STATS_FILE), STATS_BYTES);
const tun = openTun({ name: 'weft0' });
const receive = openReceiveSocket({ address: parseIpv4(address), port: Number(port) });
const send = Array.from({ length: 8 }, () => openSendSocket({ address: parseIpv4(address) }));
const [controlEnd, dataplaneEnd] = openChannel();

let active = 0;
const say = (text: string): void => void process.stdout.write(`${text}\n`);
const log: RoleOptions['log'] = { debug: say, warn: say, error: say };
const role = createRole({
  name: 'dataplane',
  script: join(import.meta.dirname, '../../agent/dataplane/main.ts'),
  environment: { ...process.env, WEFT_RUN_DIR: runDirectory, WEFT_TUN_NAME: 'weft0' },
  descriptors: (channel) => [channel, dataplaneEnd, tun.fd, receive, ...send],
  spares: 1,
  log,
  changed(state) {
    active = state.pid;
    say(`active ${state.pid} restarts ${state.restarts}`);
  },
});
say('open');
const lines = createInterface({ input: stdin });
lines.on('line', (line) => {
  if (line === 'kill' && active !== 0) process.kill(active, 'SIGKILL');
  if (line === 'table') sendText(controlEnd, 'table');
});
lines.on('close', () => void role.stop(60_000).then(() => process.exit(0)));
