// A fault of the tour: what is done to whom, and what an operator must see of it on the right node.
import type { Stage } from './stage.ts';

export type Undo = () => Promise<void>;

export interface Fault {
  readonly name: string;
  /** What happened, in the words of an operator who reads the table. */
  readonly what: string;
  /** Number of the node that must name it, 0 to 2. The others' doctors are not asked. */
  readonly at: 0 | 1 | 2;
  /** Where it cannot be made; unless told it is made on both stages. */
  readonly only?: Stage['kind'];
  readonly inject: (stage: Stage) => Promise<Undo>;
  /** The doctor's check, and what it must say. */
  readonly check: string;
  readonly says: RegExp;
  /** The series that moves, as its name and labels are written: weft_api_connected, weft_repairs_total{object="route"}. Unless told: weft_faults of the check. */
  readonly metric?: string;
  /** The event that tells it, and a part of its message. Unless told: fault_found of the check. */
  readonly log?: { readonly event: string; readonly message: RegExp };
  /** What undoing brings back takes so long; unless told, half a minute. */
  readonly healsInSeconds?: number;
}
