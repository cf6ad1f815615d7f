// The objects of a kind as `kubectl get --watch` tells of them, kept up to date. Ends with the process that it starts.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

import { baseEnvironment } from '../lab/command.ts';
import type { Cluster } from './cluster.ts';

interface WatchedObject {
  readonly metadata: { readonly namespace?: string; readonly name: string };
}

interface WatchEvent<T> {
  readonly type: string;
  readonly object: T;
}

export interface Watch<T> {
  readonly objects: () => readonly T[];
  readonly close: () => void;
}

/** `changed` is called after every event. A watch that the API server ends is started again. */
export function watchObjects<T extends WatchedObject>(
  cluster: Cluster,
  { kind, changed }: { kind: string; changed: () => void },
): Watch<T> {
  let objects = new Map<string, T>();
  let closed = false;
  const words = ['get', kind, '--all-namespaces', '--watch', '--output-watch-events', '--output', 'json'];
  const [program = '', ...first] = cluster.controlPlane.kubectl;

  const start = (): { readonly kill: () => void } => {
    const child = spawn(program, [...first, ...words], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: baseEnvironment(),
    });
    objects = new Map();
    createInterface(child.stdout).on('line', (line) => take(JSON.parse(line) as WatchEvent<T>)); // as: kubectl's
    child.on('close', () => {
      if (!closed) watching = start();
    });
    return { kill: () => child.kill('SIGKILL') };
  };

  const take = ({ type, object }: WatchEvent<T>): void => {
    const key = `${object.metadata.namespace}/${object.metadata.name}`;
    if (type === 'DELETED') objects.delete(key);
    else objects.set(key, object);
    changed();
  };

  let watching = start();
  return {
    objects: () => [...objects.values()],
    close: () => {
      closed = true;
      watching.kill();
    },
  };
}
