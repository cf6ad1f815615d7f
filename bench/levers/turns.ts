// Variants of one thing, measured in turns in one process: round after round each variant once, so that what else the machine does
// falls on all of them alike. The first variant is the baseline; what is printed is the median, its spread, and the ratio to it.
import { percentile } from '../figures.ts';

export interface Variant {
  readonly name: string;
  /** Cost of one unit of work, in the table's unit. */
  readonly take: () => number | Promise<number>;
}

export interface Turns {
  readonly title: string;
  readonly unit: string;
  readonly rounds: number;
  readonly digits?: number;
  readonly variants: readonly Variant[];
}

/** Runs one round for warming up, then the rounds, and prints the table. */
export async function compareInTurns({ title, unit, rounds, digits = 2, variants }: Turns): Promise<void> {
  const taken = variants.map((): number[] => []);
  for (let round = -1; round < rounds; round += 1) {
    for (const [index, variant] of variants.entries()) {
      if (process.env['T']) process.stderr.write(`${variant.name}\n`);
      const cost = await variant.take();
      if (round >= 0) taken[index]?.push(cost);
    }
  }
  const baseline = percentile(taken[0] ?? [], 0.5);
  process.stdout.write(`\n${title} (${unit}; median of ${rounds}, least–most, ratio to the first)\n`);
  for (const [index, { name }] of variants.entries()) {
    const costs = taken[index] ?? [];
    const median = percentile(costs, 0.5);
    const spread = `${Math.min(...costs).toFixed(digits)}–${Math.max(...costs).toFixed(digits)}`;
    process.stdout.write(
      `  ${name.padEnd(58)} ${median.toFixed(digits).padStart(9)}  ${spread.padStart(17)}  ${(median / baseline).toFixed(2).padStart(6)}\n`,
    );
  }
}
