// The admin endpoint of the faults (only with --enable-faults):
//   GET PUT DELETE /faults             the rules: a list of {action, verb?, resource?, name?, count?, …}, see faults.ts
//   GET DELETE     /faults/requests    counters by verb, resource and code; DELETE sets them to zero
//   POST           /faults/watches     {action: stall|reset|end|expire|bookmark, resource?} on the watches that are open now
//   POST           /faults/compact     forgets the history, so that older resourceVersions are answered with 410
import { badRequest, expired, methodNotAllowed, noSuchPath } from './api-failure.ts';
import { type Json, isJsonObject, textOf } from './api-object.ts';
import type { ConnectionResets } from './connection-reset.ts';
import type { Faults } from './faults.ts';
import { type Exchange, readJson, send } from './http-exchange.ts';
import { RESOURCE_KINDS, resourceName } from './resource-kinds.ts';
import type { Storage } from './storage.ts';
import type { WatchHub } from './watch.ts';

export async function answerFaultRequest(
  exchange: Exchange,
  parts: {
    readonly faults: Faults;
    readonly watches: WatchHub;
    readonly storage: Storage;
    readonly resets: ConnectionResets;
  },
): Promise<void> {
  const { request, response, path } = exchange;
  const { faults, storage } = parts;
  const route = `${request.method} ${path}`;
  switch (route) {
    case 'GET /faults':
      return send(response, { code: 200, body: faults.describe() });
    case 'PUT /faults':
      faults.install(await readJson(request));
      return send(response, { code: 200, body: faults.describe() });
    case 'DELETE /faults':
      faults.install([]);
      return send(response, { code: 200, body: [] });
    case 'GET /faults/requests':
      return send(response, { code: 200, body: faults.counts() });
    case 'DELETE /faults/requests':
      faults.resetCounts();
      return send(response, { code: 200, body: [] });
    case 'POST /faults/watches':
      return send(response, { code: 200, body: { watches: disturb(parts, await readJson(request)) } });
    case 'POST /faults/compact':
      storage.compact(storage.current);
      return send(response, { code: 200, body: { compacted: storage.compacted } });
    default:
      throw ['/faults', '/faults/requests', '/faults/watches', '/faults/compact'].includes(path)
        ? methodNotAllowed()
        : noSuchPath();
  }
}

/** Does something to the open watches; answers how many there were. */
function disturb(
  { watches, resets }: { readonly watches: WatchHub; readonly resets: ConnectionResets },
  body: Json | undefined,
): number {
  if (!isJsonObject(body)) throw badRequest('faults: the body must be an object with "action"');
  const action = textOf(body['action']);
  const resource = body['resource'] === undefined ? undefined : textOf(body['resource']);
  const kind = RESOURCE_KINDS.find(
    (candidate) => resourceName(candidate) === resource || candidate.plural === resource,
  );
  if (resource !== undefined && kind === undefined)
    throw badRequest(`faults: resource "${resource}" is unknown`);
  const open = watches.open(kind);
  for (const watcher of open) {
    switch (action) {
      case 'stall':
        watcher.stalled = true;
        break;
      case 'reset':
        resets.reset(watcher.response.socket);
        break;
      case 'end':
        watcher.end();
        break;
      case 'expire':
        watcher.fail(expired('too old resource version: on request'));
        break;
      case 'bookmark':
        if (watcher.options.bookmarks) watches.bookmark(watcher);
        break;
      default:
        throw badRequest(`faults: action "${action}" is none of stall, reset, end, expire, bookmark`);
    }
  }
  return open.length;
}
