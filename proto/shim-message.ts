// The exchange between the CNI shim and the agent over /run/weft/cni.sock (SOCK_STREAM), one request per connection. Big-endian.
//
//   request   0       4         6             8            12          16
//             | WEFT  | version | descriptors | env bytes | stdin bytes | env: NAME=value NUL … | stdin |
//   response  0       4         6             8             12
//             | WEFT  | version | exit status | JSON bytes | JSON for the shim's stdout |
//
// A request that concerns a live network namespace carries two descriptors with its first byte (SCM_RIGHTS): an AF_NETLINK
// NETLINK_ROUTE socket opened inside the pod's namespace, and the namespace itself. The others carry none.

export const SHIM_MAGIC = 0x57454654; // "WEFT"
export const SHIM_PROTOCOL_VERSION = 1;
export const REQUEST_HEADER_BYTES = 16;
export const RESPONSE_HEADER_BYTES = 12;
/** Environment and stdin together; a larger request is refused by both sides. */
export const MAX_REQUEST_BYTES = 1_048_576;
export const MAX_RESPONSE_BYTES = 1_048_576;
