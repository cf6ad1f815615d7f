// What another program's chain does with a traced packet, by the walk through its rules that `weft doctor` takes too. Pure.
import type { TestPacket } from '../doctor/rule-match.ts';
import { chainOutcome, type RulePlace } from '../doctor/rule-walk.ts';
import { type NftChain, type Ruleset } from '../doctor/ruleset.ts';
import type { ChainFacts, ChainVerdict, Crossing } from '../wire/trace-view.ts';

const PROTOCOLS: ReadonlyMap<number | undefined, TestPacket['protocol']> = new Map([
  [1, 'icmp'],
  [6, 'tcp'],
  [17, 'udp'],
]);
const HOOKS: readonly TestPacket['hook'][] = ['prerouting', 'input', 'forward', 'output', 'postrouting'];

export function chainVerdict(
  ruleset: Ruleset,
  facts: Pick<ChainFacts, 'family' | 'table' | 'name'>,
  crossing: Crossing,
): ChainVerdict {
  const unknown: ChainVerdict = { fate: 'passes', isCertain: false, rule: undefined };
  const chain = ruleset.chains.find(
    ({ family, table, name }) => family === facts.family && table === facts.table && name === facts.name,
  );
  const hook = HOOKS.find((name) => name === crossing.hook);
  if (chain === undefined || hook === undefined) return unknown;
  const { isTunnel, port, protocol, ...packet } = crossing;
  const { end, place, doubt, isCertain } = chainOutcome(ruleset, chain, {
    ...packet,
    hook,
    protocol: PROTOCOLS.get(protocol),
    destinationPort: port,
    state: isTunnel ? 'untracked' : 'new',
  });
  if (end !== 'accept' && end !== 'through' && end !== 'return')
    return { fate: end, isCertain: isCertain && doubt === undefined, rule: ruleAt(place, chain) };
  if (end !== 'accept' && chain.policy === 'drop') {
    return { fate: 'dropped', isCertain: isCertain && doubt === undefined, rule: undefined };
  }
  return { fate: 'passes', isCertain: isCertain && doubt === undefined, rule: ruleAt(doubt, chain) };
}

function ruleAt(place: RulePlace | undefined, called: NftChain): ChainVerdict['rule'] {
  if (place === undefined) return undefined;
  const { handle, text } = place.rule;
  return place.chain === called ? { handle, text } : { handle, text, chain: place.chain.name };
}
