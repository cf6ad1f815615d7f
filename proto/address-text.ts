// The text edge of addresses: the only place that parses them, with ipaddr.js. Strict: no octal, no short forms, no host bits.
import ipaddr from 'ipaddr.js';

import { type Cidr, type Ipv4, type Mac, formatCidr, ipv4, mac } from './address.ts';

/** Parses four decimal octets. Throws with the value and what is expected. */
export function parseIpv4(text: string): Ipv4 {
  if (!ipaddr.IPv4.isValidFourPartDecimal(text)) {
    throw new Error(`"${text}" is not an IPv4 address: write four decimal octets such as 10.32.0.1`);
  }
  const [a, b, c, d] = ipaddr.IPv4.parse(text).octets as [number, number, number, number]; // as: four octets, checked above
  return ipv4(((a << 24) | (b << 16) | (c << 8) | d) >>> 0);
}

/** Parses `address/length`. Throws when it is malformed or has host bits set, naming the prefix that was meant. */
export function parseCidr(text: string): Cidr {
  const [address, length, ...rest] = text.split('/');
  if (address === undefined || length === undefined || rest.length > 0 || !/^(0|[1-9]\d?)$/.test(length)) {
    throw new Error(`"${text}" is not a CIDR: write an address and a prefix length such as 10.32.0.0/12`);
  }
  const prefixLength = Number(length);
  if (prefixLength > 32) throw new Error(`"${text}" is not a CIDR: the prefix length must be 0 to 32`);
  const value = parseIpv4(address);
  const base = ipv4(Math.floor(value / 2 ** (32 - prefixLength)) * 2 ** (32 - prefixLength));
  if (base !== value) {
    throw new Error(
      `"${text}" has bits set beyond its prefix: did you mean ${formatCidr({ base, prefixLength })}?`,
    );
  }
  return { base, prefixLength };
}

/** Parses six colon-separated hexadecimal octets. */
export function parseMac(text: string): Mac {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) {
    throw new Error(`"${text}" is not a MAC address: write six octets such as 0e:00:5e:00:53:01`);
  }
  return mac(Number.parseInt(text.replaceAll(':', ''), 16));
}
