// Each way that a packet can take through the tables of a node, and each end that it can find there, over tables that are plain values.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ruleWords } from '../../agent/cli/trace-tables.ts';
import { trace } from '../../agent/wire/trace.ts';
import type { TraceView } from '../../agent/wire/trace-view.ts';
import { mac } from '../../proto/address.ts';
import type { PolicyRule } from '../../proto/rtnetlink-rule.ts';
import {
  at,
  by,
  foreign,
  GATEWAY,
  NEIGHBOUR,
  NOBODYS,
  OURS,
  OUTSIDE,
  PEER,
  POD,
  pod,
  REMOTE,
  UNDERLAY,
  viewOf,
} from './trace-rig.ts';

const CASES: readonly (readonly [
  what: string,
  view: TraceView,
  kind: string,
  text: RegExp,
  reason?: string,
])[] = [
  [
    'to a pod elsewhere',
    viewOf(POD, REMOTE),
    'sent',
    /sent to node-2.*weft trace 10\.32\.0\.2 10\.44\.0\.2 on node-2/,
  ],
  ['to a pod of this node', viewOf(POD, NEIGHBOUR), 'delivered', /to default\/db by vethwe2/],
  ["to the pod's own gateway", viewOf(POD, GATEWAY), 'delivered', /this node's own/],
  ['out of the cluster', viewOf(POD, OUTSIDE), 'leaves', /by eth0, masqueraded/],
  [
    'out of the cluster without masquerade',
    viewOf(POD, OUTSIDE, { masquerades: false }),
    'leaves',
    /by eth0:/,
  ],
  ['from this node', viewOf(GATEWAY, REMOTE), 'sent', /node-2/],
  ['from a pod elsewhere', viewOf(REMOTE, POD), 'delivered', /to default\/web by vethwe1/],
  ['relayed', viewOf(REMOTE, NOBODYS), 'dropped', /nothing is relayed/, 'inner_destination_not_local'],
  [
    'from a block that nobody holds',
    viewOf(NOBODYS, POD),
    'dropped',
    /no block that a node holds/,
    'inner_source_not_owned',
  ],
  ['to a block that nobody holds', viewOf(POD, NOBODYS), 'dropped', /held by nobody/, 'egress_no_owner'],
  [
    'a route to the own block is missing',
    viewOf(POD, NEIGHBOUR, { route: () => by('weft0') }),
    'dropped',
    /a route to its block is missing/,
    'egress_local',
  ],
  [
    'the route to the range went to elsewhere',
    viewOf(POD, REMOTE, { route: () => by('eth1') }),
    'dropped',
    /more specific than Weft's/,
  ],
  [
    'out of the range by the TUN',
    viewOf(POD, OUTSIDE, { route: () => by('weft0') }),
    'dropped',
    /outside the range/,
    'egress_out_of_range',
  ],
  [
    "a process that sends from the node's own address",
    viewOf(UNDERLAY, REMOTE),
    'dropped',
    /in no block of this node/,
    'egress_source_not_local',
  ],
  [
    'not in the anti-spoof set',
    viewOf(POD, REMOTE, { spoofElements: () => [] }),
    'dropped',
    /does not let vethwe1 send/,
    'pod_spoofed',
  ],
  [
    'in the set with another MAC',
    viewOf(POD, REMOTE, { spoofElements: () => [{ mac: mac(7), address: at(POD) }] }),
    'dropped',
    /00:00:00:00:00:07 10\.32\.0\.2/,
    'pod_spoofed',
  ],
  [
    'a source that is no pod',
    viewOf('10.32.0.60', REMOTE),
    'dropped',
    /no pod of this node has 10\.32\.0\.60/,
  ],
  ['a destination that is no pod', viewOf(POD, '10.32.0.60'), 'dropped', /nobody answers for it/],
  [
    'an interface that is down',
    viewOf(REMOTE, POD, { podPort: () => pod({ isUp: false }) }),
    'dropped',
    /vethwe1 is down/,
  ],
  [
    'the end in the pod is down',
    viewOf(REMOTE, POD, { podPort: () => pod({ isRunning: false }) }),
    'dropped',
    /other end in the pod is down/,
  ],
  [
    'no port of the bridge',
    viewOf(REMOTE, POD, { podPort: () => pod({ isPort: false }) }),
    'dropped',
    /no port of "weave"/,
  ],
  [
    'a port that is blocked',
    viewOf(REMOTE, POD, { podPort: () => pod({ isForwarding: false }) }),
    'dropped',
    /blocked/,
  ],
  ['rp_filter', viewOf(REMOTE, POD, { route: () => ({ code: 'EXDEV' }) }), 'dropped', /rp_filter refuses it/],
  [
    'no route to the node',
    viewOf(POD, REMOTE, {
      route: ({ destination }) => (destination === PEER.address ? { code: 'ENETUNREACH' } : by('weft0')),
    }),
    'dropped',
    /no route to the node/,
    'egress_send_failed',
  ],
  [
    'a foreign policy of drop',
    viewOf(POD, REMOTE, {
      chains: [...OURS, foreign('FORWARD', 'forward', { policy: 'drop', rules: 0 })],
      judge: () => ({ fate: 'dropped', isCertain: true, rule: undefined }),
    }),
    'dropped',
    /ip filter FORWARD \(forward\): its policy drops it/,
  ],
  [
    "a foreign rule that drops the tunnel's datagram on its way out",
    viewOf(POD, REMOTE, {
      chains: [...OURS, foreign('OUTPUT', 'output')],
      judge: (_, { output, isTunnel, destination, source, port }) =>
        output === 'eth0' &&
        isTunnel &&
        port === 6784 &&
        destination === PEER.address &&
        source === at(UNDERLAY)
          ? { fate: 'dropped', isCertain: true, rule: { handle: 7, text: 'udp dport 6784 drop' } }
          : { fate: 'passes', isCertain: true, rule: undefined },
    }),
    'dropped',
    /ip filter OUTPUT \(output\): rule 7 drops it: udp dport 6784 drop/,
  ],
  [
    'a foreign rule that drops it on its way in',
    viewOf(REMOTE, POD, {
      chains: [...OURS, foreign('INPUT', 'input')],
      judge: (_, { input, isToThisNode, source }) =>
        input === 'eth0' && isToThisNode && source === PEER.address
          ? { fate: 'rejected', isCertain: true, rule: { handle: 7, text: 'reject', chain: 'REFUSE' } }
          : { fate: 'passes', isCertain: true, rule: undefined },
    }),
    'dropped',
    /ip filter INPUT \(input\): rule 7 of REFUSE rejects it: reject/,
  ],
  [
    "a Service's address",
    viewOf(POD, '10.96.0.10'),
    'redirected',
    /one of the endpoints of 10\.96\.0\.10.*kubectl get endpointslices.*weft trace 10\.32\.0\.2 ENDPOINT/,
  ],
  [
    'a pod to the tunnel of a node',
    viewOf(POD, '172.31.0.12', {
      packet: {
        source: at(POD),
        destination: at('172.31.0.12'),
        protocol: 17,
        port: 6784,
        sourcePort: 40_000,
      },
    }),
    'dropped',
    /pods never reach a tunnel/,
    'pod_to_tunnel',
  ],
];

for (const [what, view, kind, text, reason] of CASES) {
  test(`${what}: ${kind}${reason === undefined ? '' : `, ${reason}`}`, () => {
    const { steps, verdict } = trace(view);
    assert.equal(verdict.kind, kind, JSON.stringify({ steps, verdict }, null, 1));
    assert.match(verdict.text, text);
    assert.equal(verdict.reason, reason);
    assert.equal(steps.filter(({ outcome }) => outcome === 'drop').length, kind === 'dropped' ? 1 : 0);
    if (kind === 'dropped') assert.equal(steps.at(-1)?.outcome, 'drop');
  });
}

test('what cannot be told is noted and does not end the trace', () => {
  const { steps, verdict } = trace(
    viewOf(POD, REMOTE, {
      chains: [
        ...OURS,
        foreign('FORWARD', 'forward', { priority: -5 }),
        foreign('LIMITS', 'forward'),
        foreign('SNAT', 'postrouting', { type: 'nat' }),
        foreign('UNSURE', 'postrouting'),
        foreign('EMPTY', 'forward', { rules: 0 }),
      ],
      judge: ({ name }) =>
        name === 'LIMITS'
          ? { fate: 'passes', isCertain: false, rule: { handle: 3, text: 'limit rate 5/second drop' } }
          : name === 'SNAT'
            ? { fate: 'source_rewritten', isCertain: true, rule: { handle: 4, text: 'masquerade' } }
            : name === 'UNSURE'
              ? { fate: 'dropped', isCertain: false, rule: { handle: 5, text: 'drop' } }
              : { fate: 'passes', isCertain: true, rule: undefined },
      policyRules: ['100: fwmark 0x1 table 7'],
      legacyTables: ['nat'],
      connection: () => ({ isUp: false, text: 'node-2 is failed' }),
    }),
  );
  assert.equal(verdict.kind, 'sent');
  const notes = steps
    .filter(({ outcome, layer }) => outcome === 'note' && layer !== 'nftables, outer')
    .map(({ layer, text }) => `${layer}: ${text}`);
  assert.deepEqual(notes, [
    'iptables: legacy tables are in use (nat), and not read here: iptables-legacy-save shows them',
    'ip rules: beside the usual three: 100: fwmark 0x1 table 7',
    'nftables: ip filter LIMITS (forward) lets it pass, unless rule 3 is met, whose condition cannot be told from here: limit rate 5/second drop',
    'nftables: ip filter SNAT (postrouting): rule 4 changes its source (another node refuses it then, inner_source_not_owned): masquerade',
    'nftables: ip filter UNSURE (postrouting): rule 5 perhaps drops it: drop',
    'connection: node-2 is failed',
  ]);
  const order = steps.map(({ text }) => text);
  const place = (part: string): number => order.findIndex((text) => text.includes(part));
  assert.ok(place('ip filter FORWARD (forward) lets it pass') !== -1);
  assert.ok(place('ip filter FORWARD') < place('inet weft forward'), 'the lower priority comes first');
  assert.equal(place('EMPTY'), -1);
});

// As Docker has it: what passes through is dropped, and what is for the node is none of it.
const notThrough: Partial<TraceView> = {
  chains: [
    ...OURS,
    ...['prerouting', 'input', 'forward', 'postrouting'].map((hook) => foreign(hook.toUpperCase(), hook)),
  ],
  judge: ({ hook }) => ({
    fate: hook === 'forward' || hook === 'postrouting' ? 'dropped' : 'passes',
    isCertain: true,
    rule: undefined,
  }),
};
for (const [source, destination] of [
  [POD, GATEWAY],
  [POD, UNDERLAY],
  [REMOTE, GATEWAY],
] as const) {
  test(`${source} to this node itself at ${destination} is not forwarded`, () => {
    const { steps, verdict } = trace(viewOf(source, destination, notThrough));
    assert.equal(verdict.kind, 'delivered', JSON.stringify(steps, null, 1));
    const order = ['PREROUTING', 'an address of this node', 'INPUT'].map((part) =>
      steps.findLastIndex(({ text }) => text.includes(part)),
    );
    assert.deepEqual(
      order,
      order.toSorted((a, b) => a - b),
    );
    assert.ok(!order.includes(-1));
  });
}
test('what is forwarded meets the hooks behind the route', () => {
  assert.match(
    trace(viewOf(POD, NEIGHBOUR, notThrough)).verdict.text,
    /ip filter FORWARD \(forward\): its policy/,
  );
});

test('what this node sends to itself comes in by the loopback', () => {
  const { verdict } = trace(
    viewOf(UNDERLAY, GATEWAY, {
      chains: [foreign('INPUT', 'input', { policy: 'drop' })],
      judge: (_, { input }) => ({
        fate: input === 'lo' ? 'passes' : 'dropped',
        isCertain: true,
        rule: undefined,
      }),
    }),
  );
  assert.equal(verdict.kind, 'delivered');
});

test("a Service's address says where it is changed", () => {
  const { steps } = trace(viewOf(POD, '10.96.0.10'));
  assert.ok(
    steps.some(
      ({ layer, outcome, text }) =>
        layer === 'nat' && outcome === 'note' && text.includes('map ip kube-proxy service-ips'),
    ),
  );
});

const RULE: PolicyRule = {
  priority: 100,
  source: undefined,
  destination: undefined,
  mark: undefined,
  inputInterface: undefined,
  outputInterface: undefined,
  action: 1,
  table: 7,
  suppressedPrefixLength: -1,
  isInverted: false,
  isSelective: false,
};
for (const [given, words] of [
  [{}, '100: table 7'],
  [{ source: { base: at('10.32.0.0'), prefixLength: 12 } }, '100: from 10.32.0.0/12 table 7'],
  [{ isInverted: true, mark: { value: 0xca6c, mask: 0xffff_ffff } }, '100: not fwmark 0xca6c table 7'],
  [{ priority: 32_764, table: 254, suppressedPrefixLength: 0 }, '32764: table 254 suppress_prefixlength 0'],
  [
    { isSelective: true, inputInterface: 'eth1', action: 7 },
    '100: iif eth1 (of some protocols or ports) action 7',
  ],
] as const) {
  test(`a policy rule in words: ${words}`, () => {
    assert.equal(ruleWords({ ...RULE, ...given }), words);
  });
}
