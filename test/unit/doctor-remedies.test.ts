// What the doctor advises can be typed as it stands, and a fault that has one cause is not told as five.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { parseIpv4 } from '../../proto/address-text.ts';
import { formatCidr } from '../../proto/address.ts';
import type { Link } from '../../proto/rtnetlink-link.ts';
import { environmentInForce } from '../../agent/doctor/agent-environment.ts';
import { type Finding, examine } from '../../agent/doctor/check.ts';
import { CHECKS } from '../../agent/doctor/checks.ts';
import { settingsOf } from '../../agent/doctor/gather.ts';
import type { Scene } from '../../agent/doctor/scene.ts';
import { chain, firewallRule, toTunnel, traffic, withLink, withRoutes } from './doctor-changes.ts';
import { healthy, route, ruleset } from './doctor-scene.ts';

const onlyFinding = (scene: Scene): Finding => {
  const findings = examine(scene, CHECKS);
  assert.deepEqual(findings.length, 1, JSON.stringify(findings));
  return findings[0]!; // !: counted
};

test("a remedy names the agent's pod of this node by a command that finds it", () => {
  assert.ok(healthy.files.cni !== undefined);
  const { fix } = onlyFinding({
    ...healthy,
    files: { ...healthy.files, cni: { ...healthy.files.cni, pluginRefusal: 'ENOENT' } },
  });
  assert.equal(
    fix,
    `kubectl -n weft delete "$(kubectl -n weft get pods -l app.kubernetes.io/name=weft --field-selector spec.nodeName=${healthy.settings.nodeName} -o name)": its init container installs it`,
  );
});

test('a policy of drop: rules that open it, whole', () => {
  const called = { family: 'ip', table: 'filter', name: 'FORWARD', type: 'filter', hook: 'forward', prio: 0 };
  const { fix } = onlyFinding({ ...healthy, ruleset: ruleset([{ chain: { ...called, policy: 'drop' } }]) });
  const range = formatCidr(healthy.settings.range);
  assert.match(fix, new RegExp(`^nft insert rule ip filter FORWARD ip saddr ${range} accept; nft insert`));
  assert.ok(fix.includes(`; nft insert rule ip filter FORWARD ip daddr ${range} accept; `));
});

test('a rule in a chain that another one goes to is deleted there', () => {
  const table = { family: 'inet', table: 'firewalld' };
  const chains = ['filter_INPUT_ZONES', 'filter_IN_public', 'KUBE-POD-FW-X'].map((name) => ({
    chain: { ...table, name },
  }));
  const rule = (
    chain: string,
    handle: number,
    ...expr: readonly unknown[]
  ): Readonly<Record<string, unknown>> => ({
    rule: { ...table, chain, handle, expr },
  });
  const called = {
    ...table,
    name: 'filter_INPUT',
    type: 'filter',
    hook: 'input',
    prio: 10,
    policy: 'accept',
  };
  const zones = [
    { chain: called },
    ...chains,
    rule('filter_INPUT', 110, { jump: { target: 'filter_INPUT_ZONES' } }),
    rule('filter_INPUT_ZONES', 111, { goto: { target: 'filter_IN_public' } }),
  ];
  const { fix, what } = onlyFinding({
    ...healthy,
    ruleset: ruleset([...zones, rule('filter_IN_public', 120, toTunnel, { reject: null })]),
  });
  assert.match(what, /^Rule 120 of chain "inet firewalld filter_IN_public" rejects what peer "node-b" sends/);
  assert.match(fix, /^nft delete rule inet firewalld filter_IN_public handle 120; and tell /);

  const jump = rule('filter_IN_public', 121, { jump: { target: 'KUBE-POD-FW-X' } });
  const deeper = ruleset([...zones, jump, rule('KUBE-POD-FW-X', 122, toTunnel, { drop: null })]);
  assert.match(
    onlyFinding({ ...healthy, ruleset: deeper }).fix,
    /^nft delete rule inet firewalld KUBE-POD-FW-X handle 122; and tell /,
  );
});

const match = (
  protocol: string,
  field: string,
  right: unknown,
  op = '==',
): Readonly<Record<string, unknown>> => ({
  match: { op, left: { payload: { protocol, field } }, right },
});

test('a rule that protects the node stays: one before it lets our packets through', () => {
  const fixes = (hook: string, ...rules: readonly (readonly unknown[])[]): readonly string[] =>
    examine(
      { ...healthy, ruleset: ruleset([chain(hook), ...rules.map((expr) => firewallRule(hook, ...expr))]) },
      CHECKS,
    ).map(({ fix }) => fix.replace(/; and tell .*/, ''));
  const ssh = [match('tcp', 'dport', 22), { accept: null }];
  const open = 'nft insert rule inet fw input udp dport 6784 accept';
  assert.deepEqual(fixes('input', ssh, [{ drop: null }]), [open]);
  assert.deepEqual(fixes('input', [match('udp', 'dport', 53, '!='), { drop: null }]), [open]);
  assert.deepEqual(fixes('input', [match('udp', 'dport', { set: [53, 6784] }), { drop: null }]), [open]);
  assert.deepEqual(fixes('input', [match('ip', 'saddr', '192.0.2.2'), { drop: null }]), [
    'nft delete rule inet fw input handle 7',
  ]);
  const range = { prefix: { addr: '10.32.0.0', len: 12 } };
  assert.deepEqual(fixes('forward', [match('ip', 'saddr', range), { reject: null }]), [
    'nft delete rule inet fw forward handle 7',
  ]);
  assert.deepEqual(fixes('postrouting', [match('ip', 'saddr', range), { masquerade: null }]), [
    'nft insert rule inet fw postrouting ip saddr 10.32.0.0/12 ip daddr 10.32.0.0/12 accept',
  ]);
});

test('a last rule that rejects everything, behind a condition that cannot be read, is told as a policy is', () => {
  const unread = [{ xt: { type: 'match', name: 'conntrack' } }, { accept: null }];
  const counted = [{ counter: { packets: 1, bytes: 60 } }, { xt: { type: 'target', name: 'REJECT' } }];
  const rules = [unread, counted].map((expr) => firewallRule('input', ...expr));
  const found = onlyFinding({ ...healthy, ruleset: ruleset([chain('input'), ...rules]) });
  assert.equal(found.severity, 'warning');
  assert.match(
    found.what,
    /^Rule 7 of chain "inet fw input" rejects perhaps \(a rule before it cannot be judged\)/,
  );
  assert.match(found.fix, /^nft insert rule inet fw input udp dport 6784 accept; /);
  const named = [unread, [toTunnel, ...counted]].map((expr) => firewallRule('input', ...expr));
  assert.deepEqual(examine({ ...healthy, ruleset: ruleset([chain('input'), ...named]) }, CHECKS), []);
});

test('configurations of other networks are removed where the runtime has them, and no others', () => {
  const { cni } = healthy.files;
  assert.ok(cni !== undefined);
  const fixOf = (directory: string, ...names: readonly string[]): readonly string[] => {
    const configurations = ['10-weft.conflist', ...names].toSorted();
    const files = { ...healthy.files, cni: { ...cni, directory, configurations } };
    return examine({ ...healthy, files }, CHECKS).map(({ fix }) => fix);
  };
  const mounted = '/host/etc/cni/net.d';
  assert.deepEqual(
    fixOf(
      mounted,
      '87-podman-bridge.conflist',
      '100-crio-bridge.conflist',
      '99-loopback.conf',
      'nerdctl-bridge.conflist',
    ),
    [],
  );
  assert.deepEqual(fixOf(mounted, '20-calico.conflist'), [
    'rm /etc/cni/net.d/20-calico.conflist on the node (or where volume cni-conf of DaemonSet/weft says)',
  ]);
  assert.match(
    fixOf(mounted, '05-cilium.conflist')[0] ?? '',
    /^rm \/etc\/cni\/net\.d\/05-cilium\.conflist on the node /,
  );
  assert.deepEqual(fixOf('/var/lib/rancher/k3s/agent/etc/cni/net.d', '20-flannel.conflist'), [
    'rm /var/lib/rancher/k3s/agent/etc/cni/net.d/20-flannel.conflist on the node',
  ]);
});

test('remedies name the port in force, interfaces with dots, and no process id of a container', () => {
  const settings = { ...healthy.settings, port: 7000 };
  const sockets = { ...healthy.sockets, udp: [] };
  const found = examine(
    { ...healthy, settings, sockets, ruleset: undefined, traffic: { ...traffic, drops: { vxlan_flags: 1 } } },
    CHECKS,
  );
  const fixOf = (id: string): string | undefined => found.find(({ check }) => check === id)?.fix;
  assert.match(fixOf('tunnel_port') ?? '', /^ss -ulpn 'sport = :7000' tells/);
  assert.equal(fixOf('refused_packets'), 'tcpdump -ni INTERFACE udp port 7000');

  const strict = withLink('eth0', { name: 'bond0.100', inet: { forwarding: 1, rp_filter: 1 } });
  const elsewhere = route('192.0.2.2/32', 4);
  const { fix } = onlyFinding({
    ...strict,
    kernel: { ...strict.kernel, routes: [...strict.kernel.routes, elsewhere] },
  });
  assert.match(fix, /^sysctl -w net\/ipv4\/conf\/bond0\.100\/rp_filter=2 /);

  const processes = healthy.processes.map((process) => ({
    ...process,
    state: process.role === 'control' ? 'T' : 'S',
  }));
  assert.match(
    onlyFinding({ ...healthy, processes }).fix,
    /^kubectl -n weft exec "\$\(.*\)" -- weft doctor --fix --only agent_processes$/,
  );
});

test("what overlaps the pods' range is removed only where another network left it", () => {
  const bridgeAt = (index: number, name: string): Link => ({
    ...healthy.kernel.links[0]!, // !: the healthy scene has links
    index,
    name,
    kind: 'bridge',
  });
  const fixes = (
    link: Link,
    destination: string,
    protocol: number,
    ports: readonly Link[] = [],
  ): readonly string[] => {
    const { kernel } = withRoutes(route(destination, link.index, { protocol }));
    const scene = { ...healthy, kernel: { ...kernel, links: [...kernel.links, link, ...ports] } };
    return examine(scene, CHECKS)
      .filter(({ check }) => check === 'range_overlap')
      .map(({ fix }) => fix);
  };
  const another = 'choose another IPALLOC_RANGE before there are pods';
  const docker = bridgeAt(30, 'docker0');
  assert.deepEqual(fixes(docker, '10.40.0.0/16', 3), [
    `ip route del 10.40.0.0/16 dev docker0, or ${another}`,
  ]);
  assert.deepEqual(fixes(docker, '10.40.0.0/16', 2), [another]);
  const storage: Link = { ...bridgeAt(31, 'eth1'), kind: undefined };
  assert.deepEqual(fixes(storage, '10.35.0.0/24', 3), [another]);
  assert.deepEqual(fixes(docker, '10.40.0.0/16', 3, [{ ...storage, master: 30 }]), [another]);
  assert.deepEqual(fixes({ ...docker, index: 2 }, '10.40.0.0/16', 3), [another]);
});

test("on the node the agent's paths lead into its container, and what is given there wins", () => {
  const variables = {
    HOSTNAME: 'node-1',
    WEFT_PORT: '7000',
    WEFT_VNI: '5',
    WEFT_CNI_CONF_DIR: '/host/etc/cni/net.d',
    KUBERNETES_SERVICE_HOST: '10.96.0.1',
    NODE_COMPILE_CACHE: '/var/cache/weft',
    PATH: '/usr/local/bin:/usr/sbin',
  };
  const own = { HOSTNAME: 'node-1.example.org', PATH: '/usr/bin', WEFT_VNI: '6', WEFT_PORT: '' };
  const inForce = environmentInForce(own, { variables, root: '/proc/47/root' });
  assert.equal(inForce['PATH'], '/usr/bin');
  assert.equal(inForce['NODE_COMPILE_CACHE'], undefined);
  assert.equal(inForce['KUBERNETES_SERVICE_HOST'], '10.96.0.1');
  assert.equal(inForce['WEFT_SERVICE_ACCOUNT_ROOT'], '/proc/47/root');
  const { settings } = settingsOf(inForce);
  assert.deepEqual([settings.nodeName, settings.port, settings.vni], ['node-1', 7000, 6]);
  assert.equal(settings.cniDirectory, '/proc/47/root/host/etc/cni/net.d');
  assert.equal(settings.cniPluginDirectory, '/proc/47/root/opt/cni/bin');

  const within = environmentInForce({ PATH: '/usr/bin' }, { variables, root: '' });
  assert.equal(settingsOf(within).settings.cniDirectory, '/host/etc/cni/net.d');
  assert.equal(within['WEFT_SERVICE_ACCOUNT_ROOT'], undefined);
  const named = environmentInForce({}, { variables: { KUBECONFIG: '/a:/b' }, root: '/proc/47/root' });
  assert.equal(named['KUBECONFIG'], '/proc/47/root/a:/proc/47/root/b');
});

test('a setting that cannot be used: the others are in force, and nothing but it is told', () => {
  const given = { HOSTNAME: 'node-1', IPALLOC_RANGE: '10.32.0.0/40', WEFT_PORT: '7000', LOG_LEVEL: 'loud' };
  const { settings, settingsRefusal } = settingsOf(given);
  assert.equal(settings.nodeName, 'node-1');
  assert.equal(settings.port, 7000);
  assert.equal(formatCidr(settings.range), '10.32.0.0/12');
  assert.match(settingsRefusal ?? '', /IPALLOC_RANGE: "10\.32\.0\.0\/40".*; Cannot use LOG_LEVEL="loud"/);
  assert.equal(settingsOf({ HOSTNAME: 'Not a name' }).settings.nodeName, 'unnamed');

  // A default that is refused, because of another setting that stays in force.
  const inside = settingsOf({ HOSTNAME: 'node-1', WEFT_NODE_IP: '10.32.0.5', IPALLOC_RANGE: '' });
  assert.match(
    inside.settingsRefusal ?? '',
    /^Cannot use IPALLOC_RANGE="10\.32\.0\.0\/12": it overlaps[^;]*$/,
  );
  assert.equal(inside.settings.nodeIp, parseIpv4('10.32.0.5'));

  // The new agent's pod, which cannot start, beside the old one, which goes on.
  const waiting: Scene = {
    ...healthy,
    settingsRefusal,
    processes: healthy.processes.filter(({ role }) => role === 'keeper'),
  };
  assert.equal(onlyFinding(waiting).check, 'settings');
});
