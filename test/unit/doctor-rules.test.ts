// How the doctor reads other firewalls: rules as nft 1.0.6 listed them for iptables-nft 1.8.9, ufw's and firewalld's manners, and what it
// says when it cannot tell.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { parseIpv4 } from '../../proto/address-text.ts';
import type { TestPacket } from '../../agent/doctor/rule-match.ts';
import { obstacles } from '../../agent/doctor/rule-walk.ts';
import { chainVerdict } from '../../agent/cli/chain-verdicts.ts';
import { readRuleset } from '../../agent/doctor/ruleset.ts';

type Json = Readonly<Record<string, unknown>>;

const tunnel: TestPacket = {
  hook: 'input',
  input: 'eth0',
  output: undefined,
  source: parseIpv4('192.0.2.2'),
  destination: parseIpv4('192.0.2.1'),
  protocol: 'udp',
  sourcePort: 40_000,
  destinationPort: 6784,
  state: 'untracked',
  isToThisNode: true,
};

const base = (hook: string, policy = 'accept', type = 'filter'): Json => ({
  chain: { family: 'ip', table: 't', name: 'base', type, hook, prio: 0, policy },
});
const plain = (name: string): Json => ({ chain: { family: 'ip', table: 't', name } });
const on = (chain: string, handle: number, ...expr: readonly Json[]): Json => ({
  rule: { family: 'ip', table: 't', chain, handle, expr },
});
const match = (left: Json, right: unknown, op = '=='): Json => ({ match: { op, left, right } });
const payload = (protocol: string, field: string): Json => ({ payload: { protocol, field } });
const meta = (key: string): Json => ({ meta: { key } });
const drop: Json = { drop: null };
const accept: Json = { accept: null };
const counter: Json = { counter: { packets: 0, bytes: 0 } };

const found = (objects: readonly Json[], packet: TestPacket = tunnel, text = ''): readonly string[] =>
  obstacles(readRuleset(objects, text), packet, 'weft').map(({ fate, base: called, place, isCertain }) => {
    const inside = place === undefined || place.chain === called ? '' : ` of ${place.chain.name}`;
    return `${fate} by ${place?.rule.handle ?? 'policy'}${inside}${isCertain ? '' : ' perhaps'}`;
  });

const udpPort = match(payload('udp', 'dport'), 6784);
const CASES: readonly (readonly [
  what: string,
  objects: readonly Json[],
  expected: readonly string[],
  packet?: TestPacket,
])[] = [
  ['a rule that drops the port', [base('input'), on('base', 3, udpPort, counter, drop)], ['dropped by 3']],
  ['a rule of another hook', [base('forward'), on('base', 3, udpPort, drop)], []],
  ['a rule of another port', [base('input'), on('base', 3, match(payload('udp', 'dport'), 53), drop)], []],
  ['TCP alone', [base('input'), on('base', 3, match(payload('tcp', 'dport'), 22, '!='), drop)], []],
  [
    'a set with a range of ports',
    [
      base('input'),
      on('base', 3, match(payload('udp', 'dport'), { set: [22, { range: [6784, 6790] }] }), drop),
    ],
    ['dropped by 3'],
  ],
  ['another interface', [base('input'), on('base', 3, match(meta('iifname'), 'eth1'), drop)], []],
  [
    'a wildcard of interfaces',
    [base('input'), on('base', 3, match(meta('iifname'), 'eth*'), drop)],
    ['dropped by 3'],
  ],
  [
    'one source',
    [
      base('input'),
      on('base', 3, match(payload('ip', 'saddr'), '192.0.2.2'), udpPort, {
        xt: { type: 'target', name: 'REJECT' },
      }),
    ],
    ['rejected by 3'],
  ],
  [
    'a prefix of sources',
    [
      base('input'),
      on('base', 3, match(payload('ip', 'saddr'), { prefix: { addr: '192.0.2.0', len: 24 } }), drop),
    ],
    ['dropped by 3'],
  ],
  ['an accept before', [base('input', 'drop'), on('base', 2, udpPort, accept), on('base', 3, drop)], []],
  [
    'a policy',
    [base('input', 'drop'), on('base', 2, match(meta('iifname'), 'lo'), accept)],
    ['dropped by policy'],
  ],
  [
    'a policy behind a condition that is not understood',
    [base('input', 'drop'), on('base', 2, { xt: { type: 'match', name: 'set' } }, accept)],
    ['dropped by policy perhaps'],
  ],
  [
    'a drop under a condition that is not understood',
    [base('input'), on('base', 2, { xt: { type: 'match', name: 'multiport' } }, drop)],
    [],
  ],
  [
    'a limited accept',
    [base('input', 'drop'), on('base', 2, { limit: { rate: 5, per: 'second' } }, accept)],
    ['dropped by policy perhaps'],
  ],
  [
    'a limit for each source',
    [
      base('input'),
      on(
        'base',
        2,
        udpPort,
        {
          set: {
            op: 'add',
            elem: payload('ip', 'saddr'),
            set: '@flood',
            stmt: [{ limit: { rate: 10, burst: 5, per: 'second', inv: true } }],
          },
        },
        drop,
      ),
      on(
        'base',
        3,
        {
          meter: {
            key: payload('ip', 'saddr'),
            stmt: { limit: { rate: 5, per: 'second', inv: true } },
            name: 'm',
          },
        },
        drop,
      ),
    ],
    [],
  ],
  [
    'a source that is put into a set',
    [base('input'), on('base', 2, { set: { op: 'add', elem: payload('ip', 'saddr'), set: '@seen' } }, drop)],
    ['dropped by 2'],
  ],
  [
    "frames' addresses",
    [base('input', 'drop'), on('base', 2, match(payload('ether', 'saddr'), '02:00:5e:00:53:01'), accept)],
    ['dropped by policy perhaps'],
  ],
  [
    'bytes at an offset',
    [
      base('input', 'drop'),
      on('base', 2, match({ payload: { base: 'ih', offset: 0, len: 16 } }, 22), accept),
    ],
    ['dropped by policy perhaps'],
  ],
  ['what the tunnel carries', [base('input'), on('base', 2, match(payload('vxlan', 'vni'), 5), drop)], []],
  [
    'other protocols by their names',
    [
      base('input'),
      on('base', 2, match(meta('l4proto'), { set: ['icmp', 'ipv6-icmp', 99, 'sctp'] }), accept),
      on('base', 3, match(payload('ip', 'protocol'), 'vrrp'), accept),
      on('base', 4, match(payload('icmpv6', 'type'), 'echo-request'), accept),
      on('base', 5, match(payload('ip6', 'saddr'), '::1'), accept),
      on('base', 6, match(payload('esp', 'spi'), 7), accept),
      on('base', 7, match(payload('ether', 'type'), 'ip6'), accept),
      on('base', 8, drop),
    ],
    ['dropped by 8'],
  ],
  [
    'a jump',
    [
      base('input'),
      plain('deep'),
      on('base', 2, match(meta('l4proto'), 'udp'), { jump: { target: 'deep' } }),
      on('deep', 5, udpPort, drop),
    ],
    ['dropped by 5 of deep'],
  ],
  [
    'a return from a jump',
    [
      base('input', 'drop'),
      plain('deep'),
      on('base', 2, { jump: { target: 'deep' } }),
      on('base', 3, accept),
      on('deep', 5, { return: null }),
      on('deep', 6, drop),
    ],
    [],
  ],
  [
    'chains that call each other',
    [
      base('input'),
      plain('a'),
      on('base', 2, { jump: { target: 'a' } }),
      on('a', 3, { jump: { target: 'a' } }),
    ],
    [],
  ],
  [
    "the connection's state",
    [
      base('input', 'drop'),
      on('base', 2, match({ ct: { key: 'state' } }, ['established', 'related'], 'in'), accept),
    ],
    ['dropped by policy'],
  ],
  [
    'a map of states',
    [
      base('input'),
      on('base', 2, {
        vmap: {
          key: { ct: { key: 'state' } },
          data: {
            set: [
              ['untracked', drop],
              ['established', accept],
            ],
          },
        },
      }),
    ],
    ['dropped by 2'],
  ],
  [
    'a mark that is not set',
    [base('input'), on('base', 2, match({ '&': [meta('mark'), 16_384] }, 16_384), drop)],
    [],
  ],
  [
    'what is not for this node',
    [base('input'), on('base', 2, match({ fib: { result: 'type', flags: ['daddr'] } }, 'local', '!='), drop)],
    [],
  ],
  [
    'a set by its name',
    [
      base('input'),
      { set: { family: 'ip', table: 't', name: 'bad', elem: ['192.0.2.2'] } },
      on('base', 2, match(payload('ip', 'saddr'), '@bad'), drop),
    ],
    ['dropped by 2'],
  ],
  [
    'masquerade of what is tracked',
    [base('input', 'accept', 'nat'), on('base', 2, { xt: { type: 'target', name: 'MASQUERADE' } })],
    ['source_rewritten by 2'],
    { ...tunnel, state: 'new' },
  ],
  [
    'masquerade of what is not tracked',
    [base('input', 'accept', 'nat'), on('base', 2, { masquerade: null })],
    [],
  ],
  ['a mark that is put on', [base('input'), on('base', 2, { xt: { type: 'target', name: 'MARK' } })], []],
];

describe('rule walk', () => {
  for (const [what, objects, expected, packet] of CASES) {
    it(`judges ${what}`, () => assert.deepEqual(found(objects, packet), expected));
  }

  it("reads the connection's state of iptables-nft from nft's own text", () => {
    const text =
      'table ip t { # handle 1\n\tchain base { # handle 1\n\t\tct state related,established counter packets 0 bytes 0 accept # handle 4\n\t}\n}\n';
    const objects = [
      base('input', 'drop'),
      on('base', 4, { xt: { type: 'match', name: 'conntrack' } }, counter, accept),
    ];
    assert.deepEqual(found(objects, tunnel, text), ['dropped by policy']);
  });

  it('asks chains of devices and of bridges of the packets that they see', () => {
    const hooked = (family: string, name: string, hook: string, more: Json = {}): readonly Json[] => [
      { chain: { family, table: 't', name, type: 'filter', hook, prio: 0, policy: 'accept', ...more } },
      { rule: { family, table: 't', chain: name, handle: 3, expr: [drop] } },
    ];
    const atDevice: TestPacket = {
      ...tunnel,
      hook: 'prerouting',
      deviceHook: { hook: 'ingress', device: 'eth0' },
    };
    const frame: TestPacket = { ...tunnel, hook: 'prerouting', family: 'bridge', state: undefined };
    assert.deepEqual(found(hooked('netdev', 'one', 'ingress', { dev: 'eth0' }), atDevice), ['dropped by 3']);
    assert.deepEqual(found(hooked('netdev', 'other', 'ingress', { dev: 'eth1' }), atDevice), []);
    assert.deepEqual(found(hooked('netdev', 'two', 'ingress', { dev: ['lo', 'eth0'] }), atDevice), [
      'dropped by 3',
    ]);
    assert.deepEqual(found(hooked('inet', 'both', 'ingress', { dev: 'eth0' }), atDevice), ['dropped by 3']);
    assert.deepEqual(found(hooked('bridge', 'PREROUTING', 'prerouting'), frame), ['dropped by 3']);
    assert.deepEqual(found(hooked('bridge', 'PREROUTING', 'prerouting'), atDevice), []);
    assert.deepEqual(found(hooked('inet', 'pre', 'prerouting'), frame), []);
    // As nft 1.0.6 lists them: devices in the text alone.
    const text = (devices: string): string =>
      `table inet t { # handle 2\n\tchain both { # handle 1\n\t\ttype filter hook ingress ${devices} priority filter; policy accept;\n`;
    const listed = hooked('inet', 'both', 'ingress');
    assert.deepEqual(found(listed, atDevice, text('device "eth0"')), ['dropped by 3']);
    assert.deepEqual(found(listed, atDevice, text('devices = { lo, eth0 }')), ['dropped by 3']);
    assert.deepEqual(found(listed, atDevice, text('device "lo"')), []);
  });

  it("leaves Weft's own tables out", () => {
    const own = {
      chain: { family: 'inet', table: 'weft', name: 'input', type: 'filter', hook: 'input', policy: 'drop' },
    };
    assert.deepEqual(found([own]), []);
  });
});

// As kube-proxy's nftables mode has it: maps of concatenated keys, whose elements have comments.
const toService = (address: string, port: number, chain: string): readonly unknown[] => [
  { elem: { val: { concat: [address, 'tcp', port] }, comment: 'default/web' } },
  { goto: { target: chain } },
];
const SERVICES: readonly Json[] = [
  {
    map: {
      family: 'ip',
      table: 't',
      name: 'service-ips',
      elem: [toService('10.96.0.1', 443, 'api'), toService('10.96.0.7', 80, 'gone')],
    },
  },
  base('forward'),
  plain('api'),
  plain('gone'),
  on('base', 1, {
    vmap: {
      key: { concat: [payload('ip', 'daddr'), meta('l4proto'), payload('th', 'dport')] },
      data: '@service-ips',
    },
  }),
  on('gone', 2, { reject: { type: 'icmp', expr: 'port-unreachable' } }),
  on('base', 3, match({ ct: { key: 'status' } }, 'dnat', 'in'), drop),
  on('base', 4, match(payload('tcp', 'dport'), 8080), match({ ct: { key: 'bytes' } }, 5), drop),
];
const VERDICTS: readonly (readonly [address: string, port: number | undefined, verdict: string])[] = [
  ['10.40.0.2', 443, 'passes'],
  ['10.40.0.2', undefined, 'passes, not certain, 4'],
  ['10.96.0.1', 443, 'passes'],
  ['10.96.0.7', 80, 'rejected, 2 of gone'],
  ['10.96.0.7', 81, 'passes'],
  ['10.96.0.7', undefined, 'passes, not certain, 4'],
  ['10.40.0.2', 8080, 'passes, not certain, 4'],
];
function verdictOn(
  objects: readonly Json[],
  address: string,
  ports: { readonly port?: number | undefined; readonly sourcePort?: number | undefined },
): string {
  const { fate, isCertain, rule } = chainVerdict(
    readRuleset(objects),
    { family: 'ip', table: 't', name: 'base' },
    {
      hook: 'forward',
      input: 'weave',
      output: 'weft0',
      isTunnel: false,
      isToThisNode: false,
      source: parseIpv4('10.32.0.2'),
      destination: parseIpv4(address),
      protocol: 6,
      port: ports.port,
      sourcePort: ports.sourcePort,
    },
  );
  const place = rule?.chain === undefined ? rule?.handle : `${rule.handle} of ${rule.chain}`;
  return [fate, ...(isCertain ? [] : ['not certain']), ...(place === undefined ? [] : [place])].join(', ');
}
for (const [address, port, expected] of VERDICTS) {
  it(`a chain with a verdict map lets ${address}:${port ?? 'any port'} ${expected}`, () => {
    assert.equal(verdictOn(SERVICES, address, { port }), expected);
  });
}
for (const [sourcePort, expected] of [
  [40_000, 'dropped, 1'],
  [40_001, 'passes'],
  [undefined, 'passes, not certain, 1'],
] as const) {
  it(`a rule on a source port: from ${sourcePort ?? 'any port'} ${expected}`, () => {
    const objects = [base('forward'), on('base', 1, match(payload('tcp', 'sport'), 40_000), drop)];
    assert.equal(verdictOn(objects, '10.40.0.2', { sourcePort }), expected);
  });
}
