// CRC-32 (IEEE 802.3, reflected, as in zlib) over bytes, for records and files of our own.

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/** Unsigned 32-bit checksum. */
export function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (let index = 0; index < bytes.length; index++) {
    crc = (crc >>> 8) ^ TABLE[(crc ^ bytes[index]!) & 255]!; // !: both indices are in bounds
  }
  return (crc ^ 0xffffffff) >>> 0;
}
