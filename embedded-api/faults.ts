// Misbehaviour on request, for tests of clients: rules that the next matching requests run into, each used up after `count` times,
// and counters of all requests. Nothing here acts unless a rule was installed (--enable-faults).
import { ApiFailure, badRequest } from './api-failure.ts';
import { type Json, type JsonObject, isJsonObject, textOf } from './api-object.ts';
import type { CommitHooks } from './storage.ts';

/** What a matching request meets. */
export type FaultAction =
  | { readonly action: 'respond'; readonly failure: ApiFailure }
  /** The connection stays open and nothing is sent; a watch gets its headers first. */
  | { readonly action: 'stall' }
  /** RST instead of an answer. */
  | { readonly action: 'reset' }
  /** A list shows the state of `versionsBack` writes ago, as a lagging replica would. */
  | { readonly action: 'stale-list'; readonly versionsBack: number }
  /** A change does not reach the watches that are open. */
  | { readonly action: 'drop-event' };

interface Rule {
  readonly verb: string | undefined;
  readonly resource: string | undefined;
  readonly name: string | undefined;
  readonly effect: FaultAction;
  remaining: number;
}

interface Crash {
  readonly moment: 'before' | 'after';
  remaining: number;
}

export interface RequestCount {
  readonly verb: string;
  readonly resource: string;
  /** HTTP status; 0 when none was sent. */
  readonly code: number;
  readonly count: number;
}

const REASONS: Readonly<Record<number, readonly [reason: string, message: string]>> = {
  403: ['Forbidden', 'forbidden on request'],
  409: [
    'Conflict',
    'the object has been modified; please apply your changes to the latest version and try again',
  ],
  410: ['Expired', 'too old resource version: the history was compacted'],
  429: ['TooManyRequests', 'Too many requests, please try again later.'],
  500: ['InternalError', 'Internal error occurred: on request'],
  503: ['ServiceUnavailable', 'the server is currently unable to handle the request'],
  504: [
    'Timeout',
    'the server was unable to return a response in the time allotted, but may still be processing the request',
  ],
};

export class Faults implements CommitHooks {
  #rules: Rule[] = [];
  #crash: Crash | undefined;
  readonly #counts = new Map<string, RequestCount>();
  readonly #crashNow: () => void;

  /** `crash` ends the process as kill -9 would. */
  constructor(crash: () => void) {
    this.#crashNow = crash;
  }

  /** Replaces all rules. Throws 400 with what is wrong; then nothing is replaced. */
  install(body: Json | undefined): void {
    if (!Array.isArray(body)) throw badRequest('faults: the body must be a list of rules');
    const parsed = body.map((rule: Json) => parseRule(rule));
    this.#rules = parsed.flatMap((rule) => ('effect' in rule ? [rule] : []));
    this.#crash = parsed.flatMap((rule) => ('moment' in rule ? [rule] : []))[0];
  }

  /** The rules that are still armed, for people. */
  describe(): readonly object[] {
    const rules = this.#rules.map(({ effect, ...match }) => ({ ...match, action: effect.action }));
    return this.#crash === undefined ? rules : [...rules, { action: 'crash', ...this.#crash }];
  }

  /** What this request meets, if anything; uses the rule up by one. */
  meet(request: { verb: string; resource: string; name: string }): FaultAction | undefined {
    return this.#take((rule) => isMetBy(rule.effect, request.verb) && matches(rule, request));
  }

  /** Whether this change is to be kept from the open watches. */
  dropsEvent(change: { resource: string; name: string }): boolean {
    return (
      this.#take(
        (rule) => rule.effect.action === 'drop-event' && matches(rule, { verb: 'watch', ...change }),
      ) !== undefined
    );
  }

  #take(fits: (rule: Rule) => boolean): FaultAction | undefined {
    const rule = this.#rules.find(fits);
    if (rule === undefined) return undefined;
    rule.remaining -= 1;
    if (rule.remaining <= 0) this.#rules = this.#rules.filter((other) => other !== rule);
    return rule.effect;
  }

  before(): void {
    if (this.#crash?.moment === 'before' && this.#crash.remaining === 1) this.#crashNow();
  }

  after(): void {
    if (this.#crash === undefined) return;
    this.#crash.remaining -= 1;
    if (this.#crash.remaining === 0) this.#crashNow();
  }

  count(request: { verb: string; resource: string; code: number }): void {
    const key = `${request.verb} ${request.resource} ${request.code}`;
    this.#counts.set(key, { ...request, count: (this.#counts.get(key)?.count ?? 0) + 1 });
  }

  counts(): readonly RequestCount[] {
    return [...this.#counts.values()];
  }

  resetCounts(): void {
    this.#counts.clear();
  }
}

const isMetBy = (effect: FaultAction, verb: string): boolean =>
  effect.action !== 'drop-event' && (effect.action !== 'stale-list' || verb === 'list');

/** A rule may name its resource with or without the group. */
const matches = (rule: Rule, request: { verb: string; resource: string; name: string }): boolean =>
  (rule.verb ?? request.verb) === request.verb &&
  [undefined, request.resource, request.resource.split('.')[0]].includes(rule.resource) &&
  (rule.name ?? request.name) === request.name;

function parseRule(rule: Json): Rule | Crash {
  if (!isJsonObject(rule)) throw badRequest('faults: a rule must be an object');
  const text = (name: string): string | undefined => {
    const value = rule[name];
    if (value !== undefined && typeof value !== 'string')
      throw badRequest(`faults: "${name}" must be a string`);
    return value;
  };
  const count = positive(rule, 'count') ?? 1;
  if (rule['action'] === 'crash') {
    const moment = text('moment') ?? 'after';
    if (moment !== 'before' && moment !== 'after')
      throw badRequest('faults: "moment" must be "before" or "after"');
    return { moment, remaining: positive(rule, 'write') ?? 1 };
  }
  return {
    verb: text('verb'),
    resource: text('resource'),
    name: text('name'),
    remaining: count,
    effect: parseEffect(rule),
  };
}

function positive(rule: JsonObject, name: string): number | undefined {
  const value = rule[name];
  if (value === undefined) return undefined;
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 1) {
    throw badRequest(`faults: "${name}" must be a whole number from 1`);
  }
  return value;
}

function parseEffect(rule: JsonObject): FaultAction {
  switch (textOf(rule['action'])) {
    case 'respond': {
      const code = positive(rule, 'code') ?? 500;
      const retryAfterSeconds = positive(rule, 'retryAfterSeconds') ?? (code === 429 ? 1 : undefined);
      const [usual, message] = REASONS[code] ?? ['', `code ${code} on request`];
      const reason = typeof rule['reason'] === 'string' ? rule['reason'] : usual;
      const details = retryAfterSeconds === undefined ? {} : { details: { retryAfterSeconds } };
      return { action: 'respond', failure: new ApiFailure({ code, reason, message, ...details }) };
    }
    case 'stall':
      return { action: 'stall' };
    case 'reset':
      return { action: 'reset' };
    case 'stale-list':
      return { action: 'stale-list', versionsBack: positive(rule, 'versionsBack') ?? 1 };
    case 'drop-event':
      return { action: 'drop-event' };
    default:
      throw badRequest(
        `faults: action ${JSON.stringify(rule['action'])} is none of respond, stall, reset, stale-list, drop-event, crash`,
      );
  }
}
