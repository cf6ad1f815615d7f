// What the lab asks of a probe worker (a Node process inside a pod or node namespace) and what it answers, over the IPC channel.

/** UDP: sends back what it gets. TCP: the same, on a connection. */
export const ECHO_PORT = 7777;
/** TCP: takes everything until the sender's end, then answers with its SHA-256. */
export const SINK_PORT = 7778;
/** UDP: answers with the SHA-256 of what it gets, so that only one way is tried. */
export const DIGEST_PORT = 7779;

export interface ProbeReport {
  readonly sent: number;
  readonly lost: number;
  readonly duplicates: number;
  /** Answers that came after that of a datagram which was sent later. */
  readonly reordered: number;
  /** Datagrams that the sender's own kernel refused (ICMP errors, full buffers); they count as lost too. */
  readonly sendErrors: number;
  readonly roundTripMs: { readonly p50: number; readonly p99: number; readonly max: number };
  /** Longest time between two answers. */
  readonly longestGapMs: number;
}

export interface Transfer {
  readonly bytes: number;
  readonly sentHash: string;
  readonly receivedHash: string;
  readonly seconds: number;
}

export interface UdpAnswer {
  readonly bytes: number;
  readonly roundTripMs: number;
  readonly intact: boolean;
}

/** Datagrams to be sent as they are, base64. */
export interface RawDatagrams {
  readonly address: string;
  readonly port: number;
  readonly datagrams: readonly string[];
}

/** Packets of these sizes (IPv4 header included), one after the other. */
export interface EdgeSweep {
  readonly target: string;
  readonly sizes: readonly number[];
  readonly transport: 'udp' | 'tcp';
  readonly dontFragment: boolean;
  /** UDP: more than one are sent as a super-packet. */
  readonly segments: number;
}

export interface EdgeAnswer {
  readonly bytes: number;
  /** `icmp`: fragmentation needed, from a router on the way; `local`: larger than the own interface. */
  readonly outcome: 'delivered' | 'icmp' | 'local' | 'lost';
  /** With `icmp`: the next hop's MTU, and whose address the error has. */
  readonly mtu?: number;
  readonly from?: string;
}

/** Method → [argument, result]. */
export interface WorkerMethods {
  startProbe: [{ target: string; perSecond: number; bytes: number }, number];
  markProbe: [number, number];
  answeredProbe: [number, number];
  finishProbe: [{ id: number; boundMs: number }, number];
  reportProbe: [{ id: number; from: number; to: number }, ProbeReport];
  /** One UDP datagram per size to the target's echo, each awaited; one that does not come back within the bound is left out. */
  udpEcho: [{ target: string; sizes: readonly number[]; boundMs: number }, readonly UdpAnswer[]];
  /** Milliseconds from connect to the last echoed byte. */
  tcpEcho: [{ target: string; bytes: number; boundMs: number }, number];
  transfer: [{ target: string; bytes: number; boundMs: number }, Transfer];
  /** One byte to and fro on one TCP connection, `count` times: milliseconds. */
  tcpRoundTrips: [{ target: string; count: number; boundMs: number }, { p50: number; p99: number }];
  sweepEdge: [EdgeSweep, readonly EdgeAnswer[]];
  sendRaw: [RawDatagrams, number];
  /** Keeps the datagrams that arrive at a UDP port. */
  openInbox: [number, null];
  /** The datagrams that arrived at that port so far, base64. */
  readInbox: [number, readonly string[]];
}

export type WorkerMethod = keyof WorkerMethods;

export interface WorkerRequest {
  readonly id: number;
  readonly method: WorkerMethod;
  readonly argument: unknown;
}

export type WorkerReply =
  | { readonly ready: true }
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: string };
