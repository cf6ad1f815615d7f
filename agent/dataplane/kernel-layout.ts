// What the kernels and their callers agree on: byte offsets in packets (RFC 791, 9293, 768) and in the records that both write.
// Plain constants, so that AssemblyScript and TypeScript read the same file.

export const OVERLAY_BYTES = 22; // VXLAN and inner Ethernet
export const SEGMENT_HEADERS_STRIDE = 160; // overlay, IPv4 with all options, TCP with all options, and room to store 16 bytes at once
export const IOVEC_BYTES = 16;

// One write of a batch: struct of u32.
export const LEDGER_BYTES = 16;
export const LEDGER_ROW = 0;
export const LEDGER_IOVECS = 4;
export const LEDGER_PACKETS = 8;
export const LEDGER_WIRE_BYTES = 12;

// A flow whose newest write may grow: struct of u32.
export const FLOWS = 16;
export const FLOW_BYTES = 64;
export const FLOW_STATE = 0;
export const FLOW_ROW = 4;
export const FLOW_WRITE = 8;
/** Offset of the IPv4 header of the write's first packet, in the receive buffers: what every further one is compared with. */
export const FLOW_FIRST = 12;
export const FLOW_HEADER_BYTES = 16;
/** Payload of every packet but the last. */
export const FLOW_SEGMENT_BYTES = 20;
export const FLOW_TOTAL_LENGTH = 24;
export const FLOW_NEXT_SEQUENCE = 28;
export const FLOW_IDENTIFICATION = 32; // of the newest packet
export const FLOW_LAST_FLAGS = 36;
export const FLOW_VERIFIED = 40; // the first packet's checksum
export const FLOW_IDENTIFICATION_STEP = 44;

export const FLOW_FREE = 0;
export const FLOW_OPEN = 1;
/** Grows no more, and is not sealed yet. */
export const FLOW_CLOSED = 2;

export const STEP_ONE = 1;
/** UDP without fragmentation whose second packet has not come: RFC 6864 leaves the identification of such packets to the sender. */
export const STEP_UNKNOWN = 2;

/** Packets that one write may be merged from. */
export const WRITE_PACKETS = 64;
export const WRITE_IOVECS_STRIDE = 1040; // (1 + WRITE_PACKETS) * IOVEC_BYTES
export const LARGEST_PACKET_BYTES = 65535;

export const PROTOCOL_TCP = 6;
export const PROTOCOL_UDP = 17;
export const PUSH = 0x08;
export const FIN_PUSH = 0x09;
export const CWR = 0x80;
