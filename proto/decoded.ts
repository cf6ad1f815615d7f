// What a decoder answers: input from outside is a value or a reason from the decoder's closed list, never an exception.

export type Decoded<T, Reason extends string = string> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly reason: Reason };

export const decoded = <T>(value: T): { readonly ok: true; readonly value: T } => ({ ok: true, value });
export const refused = <Reason extends string>(
  reason: Reason,
): { readonly ok: false; readonly reason: Reason } => ({ ok: false, reason });
