// The nftables rules as data: nothing is dropped uncounted.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { COUNTER_FAMILIES, firewallCommands } from '../../agent/control/node/firewall-rules.ts';
import { parseCidr, parseIpv4 } from '../../proto/address-text.ts';
import { FIREWALL_REASONS } from '../../proto/drop-reason.ts';

interface RuleCommand {
  readonly add: {
    readonly rule?: { family: string; comment: string; expr: readonly Record<string, unknown>[] };
  };
}

const commands = firewallCommands(
  {
    range: parseCidr('10.32.0.0/12'),
    tunnelPort: 6784,
    peerAddresses: [parseIpv4('172.31.0.11')],
    masquerade: true,
  },
  { inetChains: [], inetSets: [], bridgeChains: [] },
);
const dropping = commands
  .map((command) => (command as unknown as Partial<RuleCommand>).add?.rule) // as: what the rules are made of
  .filter((rule) => rule !== undefined)
  .filter(({ expr }) => expr.some((statement) => 'drop' in statement));
const counterOf = ({ expr }: (typeof dropping)[number]): unknown =>
  expr.find((statement) => 'counter' in statement)?.['counter'];

test('every rule that drops counts under a reason of its family, but for the two that docs/operations/drops.md names', () => {
  const uncounted = dropping.filter((rule) => counterOf(rule) === undefined).map(({ comment }) => comment);
  assert.deepEqual(uncounted, [
    'a redirected pod would answer past conntrack',
    'a pod asks only the gateway: everything is routed',
  ]);
  for (const rule of dropping) {
    const reason = FIREWALL_REASONS.find((known) => known === counterOf(rule));
    if (reason !== undefined) assert.equal(COUNTER_FAMILIES[reason], rule.family, rule.comment);
  }
});

test('every reason is counted by a rule', () => {
  assert.deepEqual(
    new Set(dropping.map(counterOf).filter((name) => name !== undefined)),
    new Set(FIREWALL_REASONS),
  );
});
