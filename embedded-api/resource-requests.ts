// Answers a request on a resource: reads its options from query, headers and body, asks list, watch, writer or remover, and sends
// the result in the form that the client accepts.
import type { FieldValidation } from './admission.ts';
import { badRequest, ApiFailure, methodNotAllowed, notFound, unsupportedMediaType } from './api-failure.ts';
import type { ApiObject, Json } from './api-object.ts';
import { type Exchange, mediaType, readJson, send } from './http-exchange.ts';
import { listObjects } from './list.ts';
import { ObjectRemover, deletedStatus, readDeleteOptions } from './object-deletion.ts';
import { type ObjectTarget, ObjectWriter, type WriteOptions, type WriteResult } from './object-writes.ts';
import { jsonPatch, mergePatch, strategicMergePatch } from './patch.ts';
import { negotiate, renderList, renderObject } from './representation.ts';
import type { RequestTarget } from './request-target.ts';
import type { ApiVerb, ResourceKind } from './resource-kinds.ts';
import type { Storage } from './storage.ts';
import type { WatchHub } from './watch.ts';

const APPLY_TYPES = ['application/apply-patch+yaml', 'application/apply-patch+cbor'];

export interface ResourceRequest {
  readonly exchange: Exchange;
  readonly target: RequestTarget;
  readonly verb: ApiVerb;
  /** An older state for lists to show (a fault on request). */
  readonly staleAt: number | undefined;
}

export class ResourceRequests {
  readonly #storage: Storage;
  readonly #watches: WatchHub;
  readonly #writer: ObjectWriter;
  readonly #remover: ObjectRemover;
  readonly #nowMs: () => number;

  constructor(options: { storage: Storage; watches: WatchHub; nowMs: () => number }) {
    this.#storage = options.storage;
    this.#watches = options.watches;
    this.#nowMs = options.nowMs;
    this.#writer = new ObjectWriter(options);
    this.#remover = new ObjectRemover(options);
  }

  close(): void {
    this.#remover.close();
  }

  async answer(request: ResourceRequest): Promise<void> {
    const { target, verb } = request;
    if (!target.kind.verbs.includes(verb)) throw methodNotAllowed();
    switch (verb) {
      case 'get':
        return this.#sendObject(request, {
          object: this.#writer.read(named(target)),
          warnings: [],
          code: 200,
        });
      case 'list':
        return this.#list(request);
      case 'watch':
        return this.#watch(request);
      case 'create': {
        const body = await readBody(request);
        return this.#sendObject(request, this.#writer.create(named(target), body, writeOptions(request)));
      }
      case 'update': {
        const body = await readBody(request);
        return this.#sendObject(request, this.#writer.update(named(target), body, writeOptions(request)));
      }
      case 'patch':
        return this.#sendObject(request, await this.#patch(request));
      case 'delete':
        return this.#delete(request);
      case 'deletecollection':
        return this.#deleteCollection(request);
      default:
        return verb satisfies never;
    }
  }

  #list({ exchange, target, staleAt }: ResourceRequest): void {
    const { query } = exchange;
    const representation = negotiate(exchange.request.headers.accept, query.get('includeObject'));
    const result = listObjects({ storage: this.#storage, scope: target, query, staleAt });
    const nowMs = this.#nowMs();
    const body = renderList({ kind: target.kind, representation, ...result, nowMs });
    send(exchange.response, { code: 200, body });
  }

  #watch({ exchange, target }: ResourceRequest): void {
    const { query, response } = exchange;
    const representation = negotiate(exchange.request.headers.accept, query.get('includeObject'));
    if (target.name !== '') query.set('fieldSelector', `metadata.name=${target.name}`);
    this.#watches.start({ scope: target, query, representation, response });
  }

  async #patch(request: ResourceRequest): Promise<WriteResult> {
    const { exchange } = request;
    const target = named(request.target);
    const type = mediaType(exchange.request);
    const patchTypes = patchTypesOf(target.kind);
    if (!patchTypes.includes(type)) throw unsupportedMediaType(patchTypes);
    const patch = await readJson(exchange.request);
    if (patch === undefined) throw badRequest('error decoding patch: the request has no body');
    const options = writeOptions(request);
    switch (type) {
      case 'application/json-patch+json':
        return this.#writer.patch(target, (existing) => jsonPatch(existing, patch), options);
      case 'application/strategic-merge-patch+json':
        return this.#writer.patch(target, (existing) => strategicMergePatch(existing, patch), options);
      case 'application/merge-patch+json':
        return this.#writer.patch(target, (existing) => mergePatch(existing, patch), options);
      default:
        return this.#apply(request, patch, options);
    }
  }

  /** Server-side apply without field ownership: creates, or merges what is given. What an applier leaves out later stays. */
  #apply(request: ResourceRequest, patch: Json, options: WriteOptions): WriteResult {
    const target = named(request.target);
    if (request.exchange.query.get('fieldManager') === null) {
      throw badRequest(
        'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch',
      );
    }
    if (!this.#writer.exists(target)) return this.#writer.create(target, patch, options);
    return this.#writer.patch(target, (existing) => mergePatch(existing, patch), options);
  }

  async #delete({ exchange, target }: ResourceRequest): Promise<void> {
    const options = readDeleteOptions(await readJson(exchange.request), exchange.query);
    const found = this.#writer.read(named(target));
    const { object, gone } = this.#remover.delete(named(target), found, options);
    send(exchange.response, {
      code: 200,
      body: gone ? deletedStatus(named(target), object.metadata.uid) : object,
    });
  }

  /** Deletes what the selectors find and answers with the list of it. */
  async #deleteCollection({ exchange, target }: ResourceRequest): Promise<void> {
    const options = readDeleteOptions(await readJson(exchange.request), exchange.query);
    const representation = negotiate(exchange.request.headers.accept, null);
    const { query } = exchange;
    const result = listObjects({ storage: this.#storage, scope: target, query });
    for (const text of result.items) {
      const { metadata } = JSON.parse(text) as ApiObject; // as: we wrote it
      const one = { kind: target.kind, namespace: metadata.namespace ?? '', name: metadata.name };
      const found = this.#writer.exists(one) ? this.#writer.read(one) : undefined; // an owner before it may have taken it along
      if (found !== undefined) this.#remover.delete(one, found, options);
    }
    const metadata = { ...result.metadata, resourceVersion: String(this.#storage.current) };
    const nowMs = this.#nowMs();
    send(exchange.response, {
      code: 200,
      body: renderList({ kind: target.kind, representation, items: result.items, metadata, nowMs }),
    });
  }

  #sendObject(request: ResourceRequest, result: WriteResult): void {
    const { exchange, target, verb } = request;
    const representation = negotiate(exchange.request.headers.accept, exchange.query.get('includeObject'));
    const nowMs = this.#nowMs();
    const body = renderObject({ kind: target.kind, representation, object: result.object, nowMs });
    const warnings = result.warnings.map((warning) => `299 - "${warning.replaceAll(/["\\]/g, '\\$&')}"`);
    const headers = warnings.length === 0 ? {} : { warning: warnings };
    send(exchange.response, { code: result.code, body, headers });
    if (verb !== 'get' && result.object.metadata.ownerReferences !== undefined) this.#remover.sweepSoon();
  }
}

function named(target: RequestTarget): ObjectTarget {
  const { kind, name, subresource } = target;
  const namespace = target.namespace ?? '';
  if (kind.namespaced && namespace === '') throw notFound(kind, name);
  return { kind, namespace, name, ...(subresource === undefined ? {} : { subresource }) };
}

/** Custom kinds have no strategic merge patch; core kinds take it. */
const patchTypesOf = (kind: ResourceKind): readonly string[] => [
  'application/json-patch+json',
  'application/merge-patch+json',
  ...(kind.schema === undefined ? ['application/strategic-merge-patch+json'] : []),
  APPLY_TYPES[0] ?? '',
];

async function readBody({ exchange }: ResourceRequest): Promise<Json | undefined> {
  const type = mediaType(exchange.request);
  if (type !== '' && type !== 'application/json') throw unsupportedMediaType(['application/json']);
  return readJson(exchange.request);
}

function writeOptions({ exchange, target }: ResourceRequest): WriteOptions {
  const { query } = exchange;
  const dryRun = query.getAll('dryRun');
  if (dryRun.some((value) => value !== 'All')) {
    const message = `CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ${JSON.stringify(dryRun)}: supported values: "All"`;
    throw new ApiFailure({ code: 422, reason: 'Invalid', message });
  }
  const validation = query.get('fieldValidation') ?? 'Warn';
  if (!isFieldValidation(validation)) {
    throw badRequest(
      `fieldValidation: Unsupported value: ${JSON.stringify(validation)}: supported values: "Ignore", "Strict", "Warn" (${target.kind.kind})`,
    );
  }
  return { dryRun: dryRun.length > 0, fieldValidation: validation };
}

const isFieldValidation = (text: string): text is FieldValidation =>
  text === 'Ignore' || text === 'Warn' || text === 'Strict';
