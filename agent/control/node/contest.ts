// Notices that somebody undoes the repairs again and again, which one line in the log should say, not hundreds.
import type { Author } from './network-events.ts';

export interface Contest {
  /** True once, when repairs have become a contest; true again only after calm. */
  repaired(count: number, nowMs: number): boolean;
  /** From then on until calm. */
  isOn(nowMs: number): boolean;
}

export const WINDOW_MS = 60_000;
/** So many repairs within the window are no accident. */
export const MOST_REPAIRS = 30;
const CALM_MS = 600_000;

export function createContest(): Contest {
  let windowStart = Number.NEGATIVE_INFINITY;
  let repairs = 0;
  let lastContestedMs = Number.NEGATIVE_INFINITY;
  return {
    isOn: (nowMs) => nowMs - lastContestedMs <= CALM_MS,
    repaired(count, nowMs) {
      if (nowMs - windowStart > WINDOW_MS) {
        windowStart = nowMs;
        repairs = 0;
      }
      repairs += count;
      if (repairs < MOST_REPAIRS) return false;
      const isNew = nowMs - lastContestedMs > CALM_MS;
      lastContestedMs = nowMs;
      return isNew;
    },
  };
}

/** Who it may be, in words. */
export function authorWords(author: Author | undefined): string {
  const usual = 'NetworkManager, systemd-networkd, firewalld or another network plugin are the usual ones';
  if (author === undefined) return usual;
  const { program, portId } = author;
  const who = program === undefined ? 'a program' : `the program "${program}"`;
  return `the last change was made by ${who} with process id ${portId} by its look; ${usual}`;
}
