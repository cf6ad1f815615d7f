// What the tour's faults are made with: foreign packet filter tables, programs that run on for a while, cables.
import { runScript, spawnIn } from '../lab/command.ts';
import type { Undo } from './fault.ts';
import type { StageNode } from './stage.ts';

/** Loops of the faults end by themselves after so long, whatever becomes of the tour. */
const LOOP_SECONDS = 120;

/** A table of somebody else's on a node, with one chain. */
export async function blockingTable(
  { place }: StageNode,
  {
    hook,
    rule,
    family = 'inet',
    type = 'filter',
  }: { hook: string; rule: string; family?: string; type?: string },
): Promise<Undo> {
  const priority = type === 'nat' ? 100 : 0; // behind the rewriting of Services' addresses
  await runScript(place, [
    `nft add table ${family} hardening`,
    `nft add chain ${family} hardening guard '{ type ${type} hook ${hook} priority ${priority}; }'`,
    `nft add rule ${family} hardening guard ${rule.replaceAll('<', "'<'").replaceAll('>', "'>'")}`,
  ]);
  return async () => {
    await runScript(place, [`nft delete table ${family} hardening`]);
  };
}

/** Runs a line of shell again and again, until it is undone. */
export function repeatedly(place: StageNode['place'], line: string, everySeconds: number): Undo {
  const turns = Math.ceil(LOOP_SECONDS / everySeconds);
  const script = `turn=0; while [ $turn -lt ${turns} ]; do turn=$((turn + 1)); ${line}; sleep ${everySeconds}; done`;
  const child = spawnIn(place, ['bash', '-c', script], { stdio: 'ignore' });
  return async () => {
    child.kill('SIGKILL');
  };
}

/** The other end of a node's cable, in the enclosure. */
export const cableOf = ({ name }: StageNode): string => `u-${name}`;
