// Publishes the forwarding table to the data plane: the file is renamed into place, then a hint is sent. The file outlives both sides,
// so a data plane that starts finds the last table without asking. Nothing is written when nothing changed.
import { readFileSync, renameSync, writeFileSync } from 'node:fs';

import type { ForwardingTable } from '../../../proto/forwarding-table.ts';
import { decodeForwardingTable, encodeForwardingTable } from '../../../proto/forwarding-codec.ts';
import { sendText } from '../../linux/channel.ts';

export interface ForwardingPublisher {
  /** The generation that is in force now, and whether it is new. */
  publish(inputs: Omit<ForwardingTable, 'generation'>): {
    readonly generation: number;
    readonly changed: boolean;
  };
}

/** `path` lies on tmpfs, so no sync is needed; `channelFds` are the control channels of the data plane's workers. */
export function createForwardingPublisher(options: {
  path: string;
  channelFds: readonly number[];
}): ForwardingPublisher {
  let { generation, content } = lastPublished(options.path);
  return {
    publish(inputs) {
      const candidate = contentOf({ ...inputs, generation: 0 });
      if (content !== undefined && Buffer.compare(candidate, content) === 0) {
        return { generation, changed: false };
      }
      const next = (generation + 1) >>> 0;
      const temporary = `${options.path}.new`;
      writeFileSync(temporary, encodeForwardingTable({ ...inputs, generation: next }), { mode: 0o600 });
      renameSync(temporary, options.path);
      // Not before: what could not be written is written the next time.
      content = candidate;
      generation = next;
      for (const fd of options.channelFds) sendText(fd, 'table');
      return { generation, changed: true };
    },
  };
}

const contentOf = (table: ForwardingTable): Uint8Array => encodeForwardingTable({ ...table, generation: 0 });

function lastPublished(path: string): { generation: number; content: Uint8Array | undefined } {
  try {
    const table = decodeForwardingTable(readFileSync(path));
    if (table.ok) return { generation: table.value.generation, content: contentOf(table.value) };
  } catch {
    // None yet: the first publication makes it.
  }
  return { generation: 0, content: undefined };
}
