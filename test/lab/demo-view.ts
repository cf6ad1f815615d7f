// How the demo shows itself: a live view that is repainted in place on a terminal, plain lines elsewhere, nothing with --json.
import type { WriteStream } from 'node:tty';

export interface View {
  /** A new line of the story. */
  readonly say: (line: string) => void;
  /** A block of lines that may be shown again with other content under the same title; plain output prints it when `final`. */
  readonly show: (title: string, lines: readonly string[], final: boolean) => void;
}

export const silentView: View = { say: () => undefined, show: () => undefined };

export const plainView = (write: (text: string) => void): View => ({
  say: (line) => write(`${line}\n`),
  show: (title, lines, final) => {
    if (final) write(`\n${[title, ...lines].join('\n')}\n\n`);
  },
});

/** Repaints only the block that is being shown; what is final scrolls up like ordinary output. */
export function liveView(terminal: WriteStream): View {
  let painted = 0;
  const wipe = (): string => (painted === 0 ? '' : `\x1b[${painted}A\x1b[J`);
  // A line that wraps would take more rows than were counted.
  const clip = (line: string): string => line.slice(0, Math.max(20, terminal.columns || 80) - 1);
  return {
    say: (line) => {
      terminal.write(`${wipe()}${line}\n`);
      painted = 0;
    },
    show: (title, lines, final) => {
      const block = ['', `\x1b[1m${title}\x1b[0m`, ...lines.map(clip), ...(final ? [''] : [])];
      terminal.write(`${wipe()}${block.join('\n')}\n`);
      painted = final ? 0 : block.length;
    },
  };
}
