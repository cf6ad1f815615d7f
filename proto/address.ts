// Addresses as branded numbers: what crosses a module is never a bare number or a string.
// Ranges are half-open. Text is parsed in address-text.ts only. No allocation except in the formatters.

declare const brand: unique symbol;

/** IPv4 address, host order, 0 … 2^32-1. */
export type Ipv4 = number & { readonly [brand]: 'Ipv4' };
/** IEEE 802 address as a 48-bit integer, first octet most significant. */
export type Mac = number & { readonly [brand]: 'Mac' };
/** VXLAN network identifier, 0 … 2^24-1 (RFC 7348 section 5). */
export type Vni = number & { readonly [brand]: 'Vni' };
/** Number of an address block inside the range: 0 for the block at the range's first address. */
export type BlockIndex = number & { readonly [brand]: 'BlockIndex' };

/** An aligned IPv4 prefix: `base` has no bit set beyond `prefixLength`. */
export interface Cidr {
  readonly base: Ipv4;
  readonly prefixLength: number;
}

/** Brands a number that the caller knows to be an IPv4 address; wraps it to 32 bits unsigned. */
export const ipv4 = (value: number): Ipv4 => (value >>> 0) as Ipv4; // as: the brand is made here
export const mac = (value: number): Mac => value as Mac; // as: the brand is made here
export const vni = (value: number): Vni => (value & 0xffffff) as Vni; // as: the brand is made here
export const blockIndex = (value: number): BlockIndex => value as BlockIndex; // as: the brand is made here

/** Number of addresses in the prefix; 2^32 for /0. */
export const cidrSize = (cidr: Cidr): number => 2 ** (32 - cidr.prefixLength);

export const cidrContains = (cidr: Cidr, address: Ipv4): boolean =>
  address >= cidr.base && address < cidr.base + cidrSize(cidr);

export const cidrsOverlap = (a: Cidr, b: Cidr): boolean =>
  a.base < b.base + cidrSize(b) && b.base < a.base + cidrSize(a);

export const formatIpv4 = (address: Ipv4): string =>
  `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`;

export const formatCidr = (cidr: Cidr): string => `${formatIpv4(cidr.base)}/${cidr.prefixLength}`;

/** Lower-case, colon separated: `0e:1f:…`. */
export const formatMac = (address: Mac): string => {
  const hex = address.toString(16).padStart(12, '0');
  return hex.replace(/(..)(?!$)/g, '$1:');
};

/** How many blocks of `blockPrefixLength` the range holds. */
export const blockCount = (range: Cidr, blockPrefixLength: number): number =>
  2 ** (blockPrefixLength - range.prefixLength);

/** The block that holds `address`, or undefined outside the range. */
export const blockOf = (range: Cidr, blockPrefixLength: number, address: Ipv4): BlockIndex | undefined =>
  cidrContains(range, address)
    ? blockIndex(Math.floor((address - range.base) / 2 ** (32 - blockPrefixLength)))
    : undefined;

export const blockCidr = (range: Cidr, blockPrefixLength: number, index: BlockIndex): Cidr => ({
  base: ipv4(range.base + index * 2 ** (32 - blockPrefixLength)),
  prefixLength: blockPrefixLength,
});
