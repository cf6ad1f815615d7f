// The name of an AddressBlock object: its CIDR with "-" for "/", such as 10.32.4.0-26. Since a name can be created once only, creating
// it is the claim.
import { type Cidr, formatCidr } from '../../proto/address.ts';
import { parseCidr } from '../../proto/address-text.ts';
import { blockName } from '../../proto/api-decode.ts';
import { type Decoded, decoded, refused } from '../../proto/decoded.ts';

export const formatBlockName = (block: Cidr): string => blockName(formatCidr(block));

export function decodeBlockName(name: string): Decoded<Cidr, 'block_name_malformed'> {
  const dash = name.indexOf('-');
  try {
    const block = parseCidr(`${name.slice(0, Math.max(dash, 0))}/${name.slice(dash + 1)}`);
    // One spelling only: "10.32.4.0-026" would be a second name for the same block.
    return formatBlockName(block) === name ? decoded(block) : refused('block_name_malformed');
  } catch {
    return refused('block_name_malformed');
  }
}
