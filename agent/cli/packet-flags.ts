// Flags of the commands about packets as numbers and words. A wrong one ends the command with what is expected.
import { wrongUse } from './flags.ts';
import type { Invocation } from './command.ts';

type Flags = Invocation['flags'];

export const textFlag = (flags: Flags, name: string): string | undefined => {
  const value = flags[name];
  return typeof value === 'string' ? value : undefined;
};

export interface NumberFlag {
  readonly least: number;
  readonly most: number;
  readonly isWhole?: boolean;
}

/** Throws OperationError WRONG_USE. */
export function numberFlag(
  flags: Flags,
  name: string,
  { least, most, isWhole = true }: NumberFlag,
): number | undefined {
  const text = textFlag(flags, name);
  if (text === undefined) return undefined;
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= most && (!isWhole || Number.isInteger(value))) return value;
  throw wrongUse(
    `--${name} "${text}" cannot be: write a ${isWhole ? 'whole ' : ''}number from ${least} to ${most}`,
  );
}

const PROTOCOLS: Readonly<Record<string, number>> = { icmp: 1, tcp: 6, udp: 17, sctp: 132 };

/** Throws OperationError WRONG_USE. */
export function protocolFlag(flags: Flags): number | undefined {
  const text = textFlag(flags, 'protocol');
  if (text === undefined) return undefined;
  const number =
    PROTOCOLS[text.toLowerCase()] ??
    (/^\d{1,3}$/.test(text) && Number(text) < 256 ? Number(text) : undefined);
  if (number !== undefined) return number;
  throw wrongUse(`--protocol "${text}" is not known: write tcp, udp, icmp, sctp or a number`);
}
