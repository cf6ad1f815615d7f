// `weft trace`: what this node would do with a packet, layer by layer.
import { formatIpv4 } from '../../../proto/address.ts';
import { IPV4_HEADER_BYTES } from '../../../proto/ipv4-packet.ts';
import { sendSocketOf } from '../../dataplane/flow-hash.ts';
import { SEND_SOCKETS } from '../../dataplane/send-batch.ts';
import { table } from '../../report/text.ts';
import { trace, type Trace } from '../../wire/trace.ts';
import type { TracedPacket } from '../../wire/trace-view.ts';
import type { Command, Invocation } from '../command.ts';
import { readNodeTables, type NodeTables } from '../node-tables.ts';
import { type PacketEnd, findEnd, formatEnd, gatewaysOf } from '../packet-ends.ts';
import { numberFlag, protocolFlag } from '../packet-flags.ts';
import { wrongUse } from '../flags.ts';
import { OUTPUT, formatTold } from '../told-forms.ts';
import { openTraceTables } from '../trace-tables.ts';

const TCP = 6;
const UDP = 17;

const flags = {
  protocol: { type: 'string', value: 'tcp|udp|icmp', meaning: 'of the packet; tcp where a port is given' },
  port: { type: 'string', short: 'p', value: 'PORT', meaning: 'destination port' },
  'source-port': {
    type: 'string',
    value: 'PORT',
    meaning: 'with it the flow of a packet is known, and the socket that it leaves by',
  },
  output: OUTPUT,
} as const;

export const traceCommand: Command = {
  name: 'trace',
  usage: 'SRC DST [flags]',
  summary: 'which decision each layer of this node takes for a packet, and where it ends',
  help: `Follows a packet from SRC to DST through the tables of this node as they are now: anti-spoof set,
bridge, nftables, routes and rules, forwarding table, path MTU, underlay, the connection to the
peer. SRC and DST are pods of this node by name (NAMESPACE/NAME), nodes by name, or addresses.
Nothing is sent. Chains of other programs are walked too; "?" marks what cannot be told from the
tables. A packet's other half is on the other node.
Exit code: 0 it is delivered, sent, leaves or goes to a Service's endpoint; 1 it is dropped.

  weft trace default/web-0 10.44.0.7 --port 8080
  weft trace 10.32.0.5 10.96.0.10 --protocol udp --port 53
`,
  flags,
  async run({ env, flags: given, positionals, stdout }) {
    const [from, to] = positionals;
    if (from === undefined || to === undefined || positionals.length > 2) {
      throw wrongUse('From where to where? weft trace SRC DST');
    }
    const flow = flowOf(given);
    const tables = await readNodeTables(env);
    const source = sender(tables, findEnd(tables, from));
    const destination = findEnd(tables, to);
    const packet = { source: source.address, destination: destination.address, ...flow };
    const view = await openTraceTables({ tables, packet, flow: flowWords(packet), env });
    try {
      const result = trace(view);
      const text = (): string => asText(result, { packet, source, destination });
      stdout.write(formatTold({ text, value: asValue(result, packet) }, given));
      return result.verdict.kind === 'dropped' ? 1 : 0;
    } finally {
      view.close();
    }
  },
};

/** Packets of another node to pods come with its bridge's address. */
function sender({ table }: NodeTables, end: PacketEnd): PacketEnd {
  if (end.owner.kind !== 'peer_underlay') return end;
  const { peer } = end.owner;
  const [gateway] = gatewaysOf(table, peer);
  return gateway === undefined ? end : { ...end, address: gateway, owner: { kind: 'peer', peer } };
}

/** Throws OperationError WRONG_USE. */
function flowOf(given: Invocation['flags']): Pick<TracedPacket, 'protocol' | 'port' | 'sourcePort'> {
  const port = numberFlag(given, 'port', { least: 0, most: 65_535 });
  const sourcePort = numberFlag(given, 'source-port', { least: 0, most: 65_535 });
  const hasPort = port !== undefined || sourcePort !== undefined;
  const protocol = protocolFlag(given) ?? (hasPort ? TCP : undefined);
  if (hasPort && protocol !== TCP && protocol !== UDP)
    throw wrongUse('--port and --source-port belong to --protocol tcp or udp');
  return { protocol, port, sourcePort };
}

/** By which of its sockets the data plane sends the packet: that is what makes its outer source port. */
function flowWords({ source, destination, protocol, port, sourcePort }: TracedPacket): string {
  if (protocol === undefined)
    return `its protocol and ports choose one of ${SEND_SOCKETS} outer source ports`;
  const hasPorts = protocol === TCP || protocol === UDP;
  if (hasPorts && (port === undefined || sourcePort === undefined)) {
    return `its ports choose one of ${SEND_SOCKETS} outer source ports; --port and --source-port tell which`;
  }
  const header = new DataView(new ArrayBuffer(IPV4_HEADER_BYTES + 4));
  header.setUint8(9, protocol);
  header.setUint32(12, source);
  header.setUint32(16, destination);
  header.setUint16(IPV4_HEADER_BYTES, sourcePort ?? 0);
  header.setUint16(IPV4_HEADER_BYTES + 2, port ?? 0);
  const socket = sendSocketOf(header, 0, IPV4_HEADER_BYTES, header.byteLength);
  return `leaves by send socket ${socket} of ${SEND_SOCKETS}: every packet of this flow has its outer source port`;
}

const MARKS: Readonly<Record<Trace['steps'][number]['outcome'], string>> = { ok: ' ', note: '?', drop: '✗' };

function asText(
  { steps, verdict }: Trace,
  {
    packet,
    source,
    destination,
  }: { readonly packet: TracedPacket; readonly source: PacketEnd; readonly destination: PacketEnd },
): string {
  const lines = table(steps.map(({ layer, outcome, text }) => [`${MARKS[outcome]} ${layer}`, text]));
  const protocol = packet.protocol === undefined ? '' : `, protocol ${packet.protocol}`;
  const port = packet.port === undefined ? '' : ` port ${packet.port}`;
  return `${formatEnd(source)} > ${formatEnd(destination)}${protocol}${port}\n${lines}=> ${verdict.text}\n`;
}

const asValue = ({ steps, verdict }: Trace, packet: TracedPacket): object => ({
  packet: { ...packet, source: formatIpv4(packet.source), destination: formatIpv4(packet.destination) },
  steps,
  verdict,
});
