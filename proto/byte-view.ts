// The view that the codecs read and write through: big-endian unless a codec says otherwise.

/** A DataView over exactly these bytes. */
export const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
