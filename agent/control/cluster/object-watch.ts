// What control does with the objects of one kind beside showing them to the view: says the first failure of an outage and its end, and keeps
// what was known of an object that the API shows in a form that is refused. With CRDs of another version that is all of them, and no
// pod is to lose its network by it.
import type { ADDRESS_BLOCKS, PEERS } from '../../../proto/api-kinds.ts';
import type { ReflectorEvents } from '../../kube/reflector.ts';
import { type Logger, errorFields } from '../../telemetry/logger.ts';
import { Repeats } from '../../telemetry/told-once.ts';
import { type Trouble, isLastingAnswer, troubleOf } from '../trouble.ts';
import { CRD_REMEDY, withRemedy } from './api-remedy.ts';

export interface ObjectWatchOptions<T> {
  readonly plural: typeof PEERS | typeof ADDRESS_BLOCKS;
  readonly handlers: Pick<ReflectorEvents<T>, 'synced' | 'changed'>;
  /** The objects that are in force. */
  readonly known: () => ReadonlyMap<string, T>;
  /** Names that the reflector refuses now. */
  readonly refused: () => ReadonlyMap<string, string>;
  readonly relisted: (plural: string) => void;
  /** Under the plural: what fails for as long as it does. */
  readonly failing: Map<string, Trouble>;
  readonly log: Logger;
  /** Of any clock that goes on steadily; the process's own unless told. */
  readonly nowMs?: () => number;
}

export function createObjectWatch<T>(options: ObjectWatchOptions<T>): ReflectorEvents<T> {
  const { plural, handlers, known, failing, log } = options;
  let isConnected = false;
  let isLost = false;
  const stale = new Repeats();
  const nowMs = options.nowMs ?? ((): number => performance.now());
  /** Name → reason. */
  const toldRefused = new Map<string, string>();
  const tellAccepted = (): void => {
    const refused = toldRefused.size === 0 ? toldRefused : options.refused();
    for (const name of toldRefused.keys()) {
      if (refused.has(name)) continue;
      toldRefused.delete(name);
      log.info('contradiction_ended', `"${name}" of ${plural} is no more refused`, {
        resource: plural,
        name,
      });
    }
  };
  return {
    synced(objects, resourceVersion) {
      const before = known();
      const kept = [...options.refused().keys()].flatMap((name): [string, T][] => {
        const object = before.get(name);
        return object === undefined ? [] : [[name, object]];
      });
      handlers.synced(new Map([...kept, ...objects]), resourceVersion);
      if (isLost) options.relisted(plural);
      tellAccepted();
    },
    changed(name, object, resourceVersion) {
      if (object === undefined && options.refused().has(name)) return;
      handlers.changed(name, object, resourceVersion);
      tellAccepted();
    },
    watching() {
      failing.delete(plural);
      if (!isConnected) log.info('api_connected', `Following ${plural}`, { resource: plural });
      isConnected = true;
      isLost = false;
    },
    stale(reason) {
      const repeated = stale.admit(plural, nowMs());
      if (repeated === undefined) return;
      log.warn(
        'api_relisted',
        `${reason}. If it goes on, look whether all API servers use one etcd, and whether an old backup of it was restored`,
        { resource: plural, ...(repeated > 1 && { repeated }) },
      );
    },
    refused({ name, reason, detail }) {
      // A list shows it again, and so does each change of it.
      if (toldRefused.get(name) === reason) return;
      toldRefused.set(name, reason);
      log.warn(
        'api_object_refused',
        `Ignoring what the API says of "${name}" of ${plural}: ${reason}${detail === undefined ? '' : ` (${detail})`}; correct or delete it, or ${CRD_REMEDY}`,
        { resource: plural, name, reason },
      );
    },
    failed(error) {
      const message = `Cannot follow ${plural}, which stay as last known: ${withRemedy(error)}`;
      const isOther = isLastingAnswer(error) && failing.get(plural)?.code !== error.code;
      if (isLastingAnswer(error)) failing.set(plural, troubleOf(error, message));
      else failing.delete(plural);
      if (isLost && !isOther) return;
      isLost = true;
      isConnected = false;
      log.warn('api_disconnected', message, errorFields(error));
    },
  };
}
