// Something of the node that was made or put right: what kind of object, for the metrics, and a sentence for people.
import type { RepairedObject } from '../telemetry/repaired-objects.ts';

export interface Repair {
  readonly object: RepairedObject;
  readonly text: string;
}

export const repairsOf = (object: RepairedObject, texts: readonly string[]): readonly Repair[] =>
  texts.map((text) => ({ object, text }));

export const textsOf = (repairs: readonly Repair[]): readonly string[] => repairs.map(({ text }) => text);
