// The whole of cni-server and attachments over the fakes of pool and links, asked as the shim asks.
import assert from 'node:assert/strict';

import { createAttachments } from '../../agent/control/cni/attachments.ts';
import { type CniOutcome, type CniServer, createCniServer } from '../../agent/control/cni/cni-server.ts';
import { decodeResponse } from '../../proto/shim-codec.ts';
import { FakeLinks, FakeNode, FakePool, shimRequest, trustingCheck } from './attachment-fakes.ts';

/** What the shim prints. */
export interface Printed {
  readonly code?: number;
  readonly msg?: string;
  readonly details?: string;
  readonly cniVersion?: string;
  readonly ips?: readonly { readonly address: string; readonly version?: string }[];
  readonly interfaces?: readonly { readonly name: string }[];
  readonly supportedVersions?: readonly string[];
}

export interface Bench {
  readonly pool: FakePool;
  readonly links: FakeLinks;
  readonly node: FakeNode;
  readonly outcomes: readonly CniOutcome[];
  /** Steps that ended, as "verb step", with " failed". */
  readonly steps: string[];
  /** Errors of undoing. */
  readonly undone: readonly unknown[];
  readonly server: CniServer;
  readonly ask: (...request: Parameters<typeof shimRequest>) => Promise<Printed>;
}

/** `size`: addresses of the pool. */
export function bench(size?: number): Bench {
  const pool = new FakePool(size);
  const links = new FakeLinks();
  const node = new FakeNode();
  const outcomes: CniOutcome[] = [];
  const steps: string[] = [];
  const undone: unknown[] = [];
  const handler = createAttachments({
    pool,
    links,
    node,
    checkDescriptors: trustingCheck,
    undoFailed: (_attachment, error) => undone.push(error),
    stepped: ({ verb, step, isFailed }) => void steps.push(`${verb} ${step}${isFailed ? ' failed' : ''}`),
  });
  const server = createCniServer({
    handler,
    observe: (outcome) => outcomes.push(outcome),
    waited: (verb) => void steps.push(`${verb} wait`),
  });
  const ask: Bench['ask'] = (...request) => printed(server, shimRequest(...request));
  return { pool, links, node, outcomes, steps, undone, server, ask };
}

export async function printed(
  server: CniServer,
  message: Parameters<CniServer['answer']>[0],
): Promise<Printed> {
  const response = decodeResponse(await server.answer(message));
  assert.ok(response.ok);
  const { status, json } = response.value;
  const answer: Printed = json === '' ? {} : (JSON.parse(json) as Printed); // as: what this test is about
  assert.equal(status === 0, answer.code === undefined, `status ${status} with ${json}`);
  return answer;
}
