// As in the agent's container: every capability dropped but NET_ADMIN, and /proc/sys read-only.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { it } from 'node:test';

import { enterFreshNamespace, furnishNode, makePodNamespace, run } from './network-namespaces.ts';

enterFreshNamespace();
furnishNode();

it('the node is set up and a pod attached with NET_ADMIN alone and a read-only /proc/sys', () => {
  const pod = makePodNamespace();
  const scenario = join(import.meta.dirname, 'net-admin-scenario.ts');
  const { status, stdout, stderr } = spawnSync(
    'unshare',
    [
      '-m',
      'sh',
      '-c',
      'mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys && ' +
        '! (echo 1 > /proc/sys/net/ipv4/ip_forward) 2> /dev/null && ' +
        'exec setpriv --bounding-set=-all,+net_admin --inh-caps=-all "$@"',
      'sh',
      process.execPath,
      scenario,
    ],
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe', pod.netnsFd, pod.netlinkFd] },
  );
  assert.equal(status, 0, stderr);
  const { made, ...rest } = JSON.parse(stdout) as { made: number }; // as: the scenario's own form
  assert.ok(made > 5);
  assert.deepEqual(rest, { differs: [], again: [], detached: true });
  assert.equal(run('cat /proc/sys/net/ipv4/conf/weave/forwarding').trim(), '1');
  assert.equal(run('cat /proc/sys/net/ipv4/ip_forward').trim(), '0');
  pod.close();
});
