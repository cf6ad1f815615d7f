// The test's handle of a node's observer: typed calls over the IPC channel.
import process from 'node:process';
import { fileURLToPath } from 'node:url';

import { type Place, spawnIn } from '../command.ts';
import type {
  KillOrder,
  KillReport,
  NamespaceView,
  NodeView,
  Note,
  ObserverReply,
  Question,
} from './protocol.ts';

const OBSERVER = fileURLToPath(new URL('observer.ts', import.meta.url));

export interface Observer {
  readonly kill: (order: KillOrder) => Promise<KillReport>;
  readonly view: () => Promise<NodeView>;
  readonly look: (netns: string) => Promise<NamespaceView | undefined>;
  readonly note: (note: Note) => void;
  readonly close: () => Promise<void>;
}

export async function openObserver(place: Place): Promise<Observer> {
  const child = spawnIn(place, [process.execPath, '--disable-warning=ExperimentalWarning', OBSERVER], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const waiting = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>();
  let count = 0;
  let closing = false;
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.on('exit', (code) => {
      if (closing) return;
      const error = new Error(`The observer in ${place.name} ended (${code})`);
      reject(error);
      for (const one of waiting.values()) one.reject(error);
    });
    child.on('message', (message) => {
      const reply = message as ObserverReply; // as: only the observer writes to this channel
      if ('ready' in reply) return resolve();
      const one = waiting.get(reply.id);
      waiting.delete(reply.id);
      if ('error' in reply) one?.reject(new Error(`${place.name}: ${reply.error}`));
      else one?.resolve(reply.result as never); // as: the question says what comes
    });
  });
  const ask = <T>(question: Question): Promise<T> =>
    new Promise((resolve, reject) => {
      count += 1;
      waiting.set(count, { resolve, reject });
      child.send({ ...question, id: count });
    });
  return {
    kill: (order) => ask({ ask: 'kill', order }),
    view: () => ask({ ask: 'view' }),
    look: (netns) => ask({ ask: 'look', netns }),
    note: (note) => void child.send(note),
    close: async () => {
      closing = true;
      child.disconnect();
      await ended;
    },
  };
}
