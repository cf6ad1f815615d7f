// Events do not stay: the real server keeps them for an hour (--event-ttl), and so does this one.
import type { ApiObject } from './api-object.ts';
import type { Storage } from './storage.ts';

const EVENT_TTL_MS = 3_600_000;

/** Deletes the events that were last written longer ago than the TTL. */
export function expireEvents(storage: Storage, nowMs: number): void {
  const resource = 'events';
  for (const { namespace, name, object } of storage.list({
    resource,
    namespace: undefined,
    at: storage.current,
  })) {
    const event = JSON.parse(object) as ApiObject; // as: we wrote it
    const last = [event['lastTimestamp'], event.metadata.creationTimestamp].find(
      (text) => typeof text === 'string',
    );
    const age = nowMs - Date.parse(last ?? '');
    if (!(age <= EVENT_TTL_MS)) storage.delete({ resource, namespace, name });
  }
}
