// What the nftables chains of a node would do with a packet, as far as it can be told from their listing: a walk through the rules, as the
// kernel does it, with three answers to each condition. Pure. A drop is `certain` when every rule on the way was understood.
import { type NftChain, type NftRule, type Ruleset, setKey } from './ruleset.ts';
import { chosenEntry, matches, type TestPacket, type Truth } from './rule-match.ts';

export type Fate = 'dropped' | 'rejected' | 'source_rewritten' | 'redirected';

export interface Obstacle {
  readonly fate: Fate;
  /** That the kernel calls. */
  readonly base: NftChain;
  /** Undefined: the policy of `base`. */
  readonly place: RulePlace | undefined;
  readonly isCertain: boolean;
}

/** A rule with the chain that it is in: a handle means something only together with that. */
export interface RulePlace {
  readonly chain: NftChain;
  readonly rule: NftRule;
}

type Fields = Readonly<Record<string, unknown>>;
type End = 'accept' | 'return' | Fate;

interface Outcome {
  readonly end: End | 'through';
  /** The rule that ends it. */
  readonly place: RulePlace | undefined;
  /** False: some rule before may have let it through. */
  readonly isCertain: boolean;
  /** The first rule before that may have dropped it: its condition cannot be told. */
  readonly doubt: RulePlace | undefined;
}

const DEEPEST = 16;
/** Statements that depend on what happened before. */
const CONDITIONAL: ReadonlySet<string> = new Set(['limit', 'quota', 'ct count', 'lookup', 'meter']);
const FAMILIES: ReadonlySet<string> = new Set(['ip', 'inet']);
const DEVICE_HOOKS: ReadonlySet<string> = new Set(['ingress', 'egress']);
/** Of xtables, which nft lists by name alone. */
const TARGETS: Readonly<Record<string, End>> = {
  REJECT: 'rejected',
  DROP: 'dropped',
  MASQUERADE: 'source_rewritten',
  SNAT: 'source_rewritten',
  DNAT: 'redirected',
  REDIRECT: 'redirected',
};

/** Everything in the way of the packet at its hook; chains of the table `own` are left out. */
export function obstacles(ruleset: Ruleset, packet: TestPacket, own: string): readonly Obstacle[] {
  const isAsked = ({ family, table, hook, type, devices }: NftChain): boolean => {
    if (table === own || hook === undefined) return false;
    if (type === 'nat' && packet.state === 'untracked') return false;
    if (DEVICE_HOOKS.has(hook)) {
      return hook === packet.deviceHook?.hook && devices.includes(packet.deviceHook.device);
    }
    if (hook !== packet.hook) return false;
    return packet.family === undefined ? FAMILIES.has(family) : family === packet.family;
  };
  return ruleset.chains.filter(isAsked).flatMap((base): readonly Obstacle[] => {
    const { end, place, isCertain } = walk(base, { ruleset, packet, depth: 0 });
    if (end === 'accept') return [];
    if (end === 'through' || end === 'return') {
      if (base.policy !== 'drop') return [];
      return [{ fate: 'dropped', base, place: undefined, isCertain }];
    }
    return [{ fate: end, base, place, isCertain }];
  });
}

/** What a chain that the kernel calls does with the packet; its policy is not applied. */
export const chainOutcome = (ruleset: Ruleset, chain: NftChain, packet: TestPacket): Outcome =>
  walk(chain, { ruleset, packet, depth: 0 });

/** It ends what comes to it in a chain that the kernel calls, whatever it is: a policy by another name. */
export const isPolicyLike = ({ base, place }: Obstacle): boolean =>
  place === undefined || (place.chain === base && !place.rule.expressions.some(isCondition));

function isCondition(expression: unknown): boolean {
  const { match, vmap, xt } = (expression ?? {}) as {
    match?: unknown;
    vmap?: unknown;
    xt?: { name?: unknown };
  }; // as: nft's
  return (
    match !== undefined ||
    vmap !== undefined ||
    (xt !== undefined && !isXtTarget(xt) && xt.name !== 'comment')
  );
}

interface Walk {
  readonly ruleset: Ruleset;
  readonly packet: TestPacket;
  readonly depth: number;
}

function walk(chain: NftChain, { ruleset, packet, depth }: Walk): Outcome {
  let isCertain = depth < DEEPEST;
  let doubt: RulePlace | undefined;
  if (!isCertain) return { end: 'through', place: undefined, isCertain, doubt };
  for (const rule of chain.rules) {
    const { applies, end, target } = judge(rule, { chain, ruleset, packet });
    if (applies === false) continue;
    if (end !== undefined) {
      if (applies === true) return { end, place: { chain, rule }, isCertain, doubt };
      // It may have ended here otherwise; what drops perhaps is somebody's choice that cannot be read.
      if (end === 'accept' || end === 'return') isCertain = false;
      else doubt ??= { chain, rule };
      continue;
    }
    if (target === undefined) continue;
    const next = ruleset.chains.find(
      ({ family, table, name }) => family === chain.family && table === chain.table && name === target.chain,
    );
    if (next === undefined) continue;
    const inside = walk(next, { ruleset, packet, depth: depth + 1 });
    const before = doubt;
    doubt ??= inside.doubt;
    const isFinal = inside.end !== 'through' && inside.end !== 'return';
    if (applies === true) {
      if (isFinal) return { ...inside, isCertain: isCertain && inside.isCertain, doubt };
      isCertain &&= inside.isCertain;
      if (target.isGoto) return { end: 'through', place: undefined, isCertain, doubt };
    } else if (inside.end === 'accept' || !inside.isCertain || target.isGoto) {
      isCertain = false;
    }
    if (applies !== true && isFinal && inside.end !== 'accept') doubt = before ?? inside.place;
  }
  return { end: 'through', place: undefined, isCertain, doubt };
}

interface Judgement {
  readonly applies: Truth;
  readonly end?: End;
  readonly target?: { readonly chain: string; readonly isGoto: boolean };
}

function judge(
  rule: NftRule,
  { chain, ruleset, packet }: { chain: NftChain; ruleset: Ruleset; packet: TestPacket },
): Judgement {
  let applies: Truth = true;
  const elementsOf = (name: string): readonly unknown[] | undefined =>
    ruleset.sets.get(setKey(chain.family, chain.table, name))?.elements;
  for (const expression of rule.expressions) {
    if (typeof expression !== 'object' || expression === null) continue;
    const fields = expression as Fields; // as: an object, checked above
    const [kind = '', value] = Object.entries(fields)[0] ?? [];
    const verdict = verdictOf(kind, value);
    if (verdict !== undefined) return { applies, ...verdict };
    const context = { packet, elementsOf, text: rule.text };
    if (kind === 'vmap') {
      const chosen = chosenEntry(value as Fields, context); // as: a vmap's value is an object
      if (chosen === 'none') continue;
      if (chosen === undefined) return { applies: undefined, end: 'accept' };
      const [name = '', target] = Object.entries(chosen)[0] ?? [];
      return { applies, ...verdictOf(name, target) };
    }
    const truth = truthOf(kind, () => matches(fields, context), value);
    if (truth === false) return { applies: false };
    if (truth === undefined) applies = undefined;
  }
  return { applies };
}

/** Of what is no verdict: conditions, and statements that let every packet on to the next one. */
function truthOf(kind: string, match: () => Truth, value: unknown): Truth {
  if (kind === 'match') return match();
  if (kind === 'xt') return isXtTarget(value) || match();
  return CONDITIONAL.has(kind) || hasStatements(value) ? undefined : true;
}

/** Of `set` and `map`: what is done for each element, such as a limit for each source. */
const hasStatements = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && 'stmt' in value;

const isXtTarget = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && 'type' in value && value.type === 'target';

function verdictOf(kind: string, value: unknown): Omit<Judgement, 'applies'> | undefined {
  const targetOf = (isGoto: boolean): Omit<Judgement, 'applies'> => {
    const { target } = value as { target?: unknown }; // as: a jump's value is an object
    return { target: { chain: String(target), isGoto } };
  };
  switch (kind) {
    case 'accept':
    case 'return':
      return { end: kind };
    case 'queue':
      return { end: 'accept' };
    case 'drop':
      return { end: 'dropped' };
    case 'reject':
      return { end: 'rejected' };
    case 'masquerade':
    case 'snat':
      return { end: 'source_rewritten' };
    case 'dnat':
    case 'redirect':
      return { end: 'redirected' };
    case 'jump':
      return targetOf(false);
    case 'goto':
      return targetOf(true);
    case 'xt': {
      const { type, name } = (value ?? {}) as { type?: unknown; name?: unknown }; // as: an xt's value is an object or null
      const end = type === 'target' ? TARGETS[String(name)] : undefined;
      return end === undefined ? undefined : { end };
    }
    default:
      return undefined;
  }
}
