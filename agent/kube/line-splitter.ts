// Cuts a byte stream into lines at LF and decodes each whole line, so that a character split over two chunks stays whole.
// A line beyond the limit ends the splitter: `line` is not called again.

export interface LineSplitter {
  /** False when a line is longer than the limit; from then on everything is ignored. */
  push(chunk: Uint8Array): boolean;
  /** Bytes of the unfinished line. */
  readonly pendingBytes: number;
}

const LF = 0x0a;

export function createLineSplitter(options: {
  maxBytes: number;
  line: (text: string) => void;
}): LineSplitter {
  let pending: Uint8Array[] = [];
  let pendingBytes = 0;
  let broken = false;

  const keep = (part: Uint8Array): void => {
    if (part.length === 0) return;
    pending.push(part);
    pendingBytes += part.length;
  };

  return {
    push(chunk) {
      let from = 0;
      while (!broken) {
        const end = chunk.indexOf(LF, from);
        const part = chunk.subarray(from, end < 0 ? chunk.length : end);
        broken = pendingBytes + part.length > options.maxBytes;
        if (broken) break;
        keep(part);
        if (end < 0) return true;
        const text = Buffer.concat(pending, pendingBytes).toString('utf8');
        pending = [];
        pendingBytes = 0;
        from = end + 1;
        if (text.trim() !== '') options.line(text);
      }
      pending = [];
      pendingBytes = 0;
      return false;
    },
    get pendingBytes() {
      return pendingBytes;
    },
  };
}
