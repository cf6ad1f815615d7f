// A second parser of what proto/ decodes, written from the RFCs' bit numbers and sharing no code with it: a frame becomes a string of bits,
// fields are cut out of it in order. Slow and obvious. It answers with a list of facts, or ends it with the first refusal.

export type Fact = string | number | boolean;

/** One's-complement sum of big-endian 16-bit words, by arithmetic modulo 2^16 - 1: 1 to 65535, 0 for nothing but zeros. */
export function slowSum(bytes: readonly number[]): number {
  let sum = 0;
  for (const [at, byte] of bytes.entries()) sum += at % 2 === 0 ? byte * 256 : byte;
  return sum === 0 ? 0 : ((sum - 1) % 65_535) + 1;
}

/** Cuts fields from the front, given their widths in bits. */
function fieldsOf(bytes: readonly number[], widths: readonly number[]): number[] {
  let bits = bytes.map((byte) => byte.toString(2).padStart(8, '0')).join('');
  return widths.map((width) => {
    const field = Number.parseInt(bits.slice(0, width), 2);
    bits = bits.slice(width);
    return field;
  });
}

export function parseVxlan(bytes: readonly number[]): Fact[] {
  if (bytes.length < 8) return ['vxlan: truncated'];
  const [reservedA, identifierFlag, reservedB, vni, reservedC] = fieldsOf(
    bytes.slice(0, 8),
    [4, 1, 27, 24, 8],
  );
  if (reservedA !== 0 || identifierFlag !== 1 || reservedB !== 0 || reservedC !== 0) return ['vxlan: flags'];
  return ['vxlan', vni!, ...parseEthernet(bytes.slice(8))];
}

function parseEthernet(bytes: readonly number[]): Fact[] {
  if (bytes.length < 14) return ['ethernet: truncated'];
  const [destination, source, type] = fieldsOf(bytes.slice(0, 14), [48, 48, 16]);
  const facts = ['ethernet', destination!, source!, type!];
  const payload = bytes.slice(14);
  if (type === 2048) return [...facts, ...parseIpv4(payload)];
  if (type === 34_997) return [...facts, ...parseProbe(payload)];
  return [...facts, payload.length];
}

function parseProbe(bytes: readonly number[]): Fact[] {
  if (bytes.length < 20) return ['probe: truncated'];
  const [magic, version, kind, requestBytes, sequence, timeHigh, timeLow] = fieldsOf(
    bytes.slice(0, 20),
    [32, 8, 8, 16, 32, 32, 32],
  );
  if (magic !== 0x57505242) return ['probe: magic'];
  if (version !== 1) return ['probe: version'];
  if (kind !== 1 && kind !== 2) return ['probe: kind'];
  if (kind === 1 && requestBytes !== 0) return ['probe: request_bytes'];
  return ['probe', kind, requestBytes!, sequence!, timeHigh!, timeLow!, bytes.length - 20];
}

function parseIpv4(bytes: readonly number[]): Fact[] {
  if (bytes.length < 20) return ['ipv4: truncated'];
  const [version, ihl, tos, total, id, evil, df, mf, fragment, ttl, protocol, , source, destination] =
    fieldsOf(bytes.slice(0, 20), [4, 4, 8, 16, 16, 1, 1, 1, 13, 8, 8, 16, 32, 32]);
  if (version !== 4) return ['ipv4: version'];
  if (ihl! < 5) return ['ipv4: header_length'];
  if (bytes.length < ihl! * 4) return ['ipv4: truncated'];
  if (total! < ihl! * 4) return ['ipv4: total_length'];
  const header = bytes.slice(0, ihl! * 4);
  if (slowSum(header) !== 65_535) return ['ipv4: header_checksum'];
  if (total! > bytes.length) return ['ipv4: total_length'];
  const options = header.slice(20).join('.');
  const facts = [
    tos!,
    id!,
    evil === 1,
    df === 1,
    mf === 1,
    fragment! * 8,
    ttl!,
    protocol!,
    source!,
    destination!,
  ];
  const payload = bytes.slice(header.length, total);
  const start: Fact[] = ['ipv4', ...facts, options];
  if (mf === 1 || fragment !== 0) return [...start, 'fragment', payload.length];
  const pseudo = [...bytes.slice(12, 20), 0, protocol!, payload.length >> 8, payload.length & 255];
  return [...start, ...parseTransport(payload, protocol!, pseudo)];
}

function parseTransport(bytes: readonly number[], protocol: number, pseudo: readonly number[]): Fact[] {
  switch (protocol) {
    case 1:
      return parseIcmp(bytes);
    case 6:
      return parseTcp(bytes, pseudo);
    case 17:
      return parseUdp(bytes, pseudo);
    default:
      return [bytes.length];
  }
}

function checksumState(bytes: readonly number[], stored: number, pseudo: readonly number[]): string {
  if (slowSum([...pseudo, ...bytes]) === 65_535) return 'complete';
  return stored === slowSum(pseudo) ? 'partial' : 'wrong';
}

function parseTcp(bytes: readonly number[], pseudo: readonly number[]): Fact[] {
  if (bytes.length < 20) return ['tcp: truncated'];
  const [from, to, sequence, acknowledgment, offset, flags, window, checksum, urgent] = fieldsOf(
    bytes.slice(0, 20),
    [16, 16, 32, 32, 4, 12, 16, 16, 16],
  );
  if (offset! < 5) return ['tcp: data_offset'];
  if (bytes.length < offset! * 4) return ['tcp: truncated'];
  const options = bytes.slice(20, offset! * 4);
  const facts = [from!, to!, sequence!, acknowledgment!, flags!, window!, checksum!, urgent!];
  const state = checksumState(bytes, checksum!, pseudo);
  return ['tcp', ...facts, state, walkOptions(options), bytes.length - offset! * 4];
}

function walkOptions(options: readonly number[]): string {
  const [kind, length, ...rest] = options;
  if (kind === undefined || kind === 0) return 'end';
  if (kind === 1) return `1 ${walkOptions(options.slice(1))}`;
  if (length === undefined || length < 2 || length > options.length) return 'option_length';
  return `${kind}:${rest.slice(0, length - 2).join('.')} ${walkOptions(options.slice(length))}`;
}

function parseUdp(bytes: readonly number[], pseudo: readonly number[]): Fact[] {
  if (bytes.length < 8) return ['udp: truncated'];
  const [from, to, length, checksum] = fieldsOf(bytes.slice(0, 8), [16, 16, 16, 16]);
  if (length! < 8 || length! > bytes.length) return ['udp: length'];
  const state = checksumState(bytes, checksum!, pseudo);
  return ['udp', from!, to!, checksum!, state, length! - 8];
}

function parseIcmp(bytes: readonly number[]): Fact[] {
  if (bytes.length < 8) return ['icmp: truncated'];
  if (slowSum(bytes) !== 65_535) return ['icmp: checksum'];
  const [type, code, , high, low] = fieldsOf(bytes.slice(0, 8), [8, 8, 16, 16, 16]);
  const dataBytes = bytes.length - 8;
  if (type === 8 || type === 0) {
    if (code !== 0) return ['icmp: echo_code'];
    return ['icmp', type === 8 ? 'echo_request' : 'echo_reply', high!, low!, dataBytes];
  }
  if (type === 3) {
    if (high! > 255) return ['icmp: unused_bits'];
    return ['icmp', 'unreachable', code!, low!, high!, dataBytes];
  }
  return ['icmp', 'other', type!, code!, high! * 65_536 + low!, dataBytes];
}
