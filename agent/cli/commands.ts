// The commands of `weft`, in the order of its help. Each is loaded when it is asked for: `weft status` waits for no other.
import type { Command } from './command.ts';

export interface CommandEntry {
  readonly name: string;
  load(): Promise<Command>;
}

export const COMMANDS: readonly CommandEntry[] = [
  { name: 'status', load: async () => (await import('./commands/status.ts')).statusCommand },
  { name: 'doctor', load: async () => (await import('./commands/doctor.ts')).doctorCommand },
];
