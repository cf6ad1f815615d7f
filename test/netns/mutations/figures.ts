// The table of repair times by kind: of rounds with one kind alone, and of those with several at once together.
import type { Repair } from './run.ts';

const TOGETHER = 'several at once';

const at = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;

function line(name: string, times: readonly number[]): string {
  const sorted = times.toSorted((a, b) => a - b);
  const figures = [at(sorted, 0.5), at(sorted, 0.99), sorted.at(-1) ?? Number.NaN].map((ms) =>
    ms.toFixed(0).padStart(6),
  );
  return `${name.padEnd(40)} ${String(times.length).padStart(6)} ${figures.join(' ')}`;
}

export function formatFigures(repairs: readonly Repair[]): readonly string[] {
  const times = new Map<string, number[]>();
  const note = (name: string, repairMs: number): void => {
    times.set(name, [...(times.get(name) ?? []), repairMs]);
  };
  for (const { kinds, told, repairMs } of repairs) {
    note(told === 'silent' ? kinds.join(', ') : kinds.length === 1 ? String(kinds[0]) : TOGETHER, repairMs);
  }
  const events = repairs.filter(({ told }) => told === 'event');
  return [
    `${'ms'.padEnd(40)} ${'rounds'.padStart(6)} ${'p50'.padStart(6)} ${'p99'.padStart(6)} ${'max'.padStart(6)}`,
    ...[...times].sort(([a], [b]) => a.localeCompare(b)).map(([name, ms]) => line(name, ms)),
    line(
      'all that the kernel tells of',
      events.map(({ repairMs }) => repairMs),
    ),
    line(
      '… at least: the last wrong look began',
      events.map(({ wrongMs }) => wrongMs),
    ),
    line(
      '… and the probe is answered',
      events.map(({ answeredMs }) => answeredMs),
    ),
    line(
      'the slowest look of a round itself',
      repairs.map(({ lookMs }) => lookMs),
    ),
  ];
}
