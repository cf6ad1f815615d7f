// The commands of `weft`, in the order of its help. Each is loaded when it is asked for: `weft status` waits for no other.
import type { Command } from './command.ts';

export interface CommandEntry {
  readonly name: string;
  load(): Promise<Command>;
}

export const COMMANDS: readonly CommandEntry[] = [
  { name: 'status', load: async () => (await import('./commands/status.ts')).statusCommand },
  { name: 'doctor', load: async () => (await import('./commands/doctor.ts')).doctorCommand },
  { name: 'ping', load: async () => (await import('./commands/ping.ts')).pingCommand },
  { name: 'trace', load: async () => (await import('./commands/trace.ts')).traceCommand },
  { name: 'capture', load: async () => (await import('./commands/capture.ts')).captureCommand },
  { name: 'ipam', load: async () => (await import('./commands/ipam.ts')).ipamCommand },
  { name: 'report', load: async () => (await import('./commands/report.ts')).reportCommand },
  { name: 'completion', load: async () => (await import('./commands/completion.ts')).completionCommand },
  { name: 'version', load: async () => (await import('./commands/version.ts')).versionCommand },
];
