// `weft ipam`: who has an address, and since when.
import { parseIpv4 } from '../../../proto/address-text.ts';
import { addressFacts, addressPage, allocationsOf } from '../../report/address-owner.ts';
import { ipamTables } from '../../report/tables.ts';
import { askIpam, askReport } from '../agent-client.ts';
import type { Command } from '../command.ts';
import { wrongUse } from '../flags.ts';
import { addressIn } from '../node-tables.ts';
import { OUTPUT, formatTold } from '../told-forms.ts';

export const ipamCommand: Command = {
  name: 'ipam',
  usage: '[ADDRESS|POD|CONTAINER] [flags]',
  summary: 'who has an address, and since when',
  help: `Who has an address: the pod, container and interface on this node, and since when; of another node's pod the
block and its node, with the command to ask there. Free addresses: since when, or that none had it yet. It also says
that an address is a node's, a Service's, the bridge's, in quarantine, or not Weft's at all.

  ADDRESS    10.32.0.7
  POD        of this node: namespace/name, or the name alone
  CONTAINER  of this node: its id, or the first six letters of it or more

Without an argument: the range, this node's blocks, every node's share, as "weft status ipam" tells.

Exit code: 0 it could be told, 1 no pod or container of this node is called so.

Examples:
  weft ipam 10.32.0.7
  weft ipam kube-system/coredns-7c65d6cfc9-x2x8k
`,
  flags: { output: OUTPUT },
  async run({ positionals, env, flags, stdout, stderr }) {
    const [query, unexpected] = positionals;
    if (unexpected !== undefined) throw wrongUse(`Cannot read "${unexpected}": one address or pod at a time`);
    if (query === undefined) {
      const report = await askReport(env);
      stdout.write(formatTold({ text: () => ipamTables(report), value: report.ipam }, flags));
      return 0;
    }
    const address = addressIn(query);
    if (address === undefined && (NUMBERS.test(query) || !NAME.test(query))) {
      throw wrongUse(
        `Cannot look up "${query}": give an IPv4 address (10.32.0.7), a pod (namespace/name) or the id of a container`,
      );
    }
    const [report, ipam] = await Promise.all([askReport(env), askIpam(env)]);
    const addresses =
      address === undefined
        ? allocationsOf(query, report).map((allocation) => parseIpv4(allocation.address))
        : [address];
    if (addresses.length === 0) {
      stderr.write(
        `No pod or container of node "${report.node.name}" is called "${query}": "weft status attachments" lists them; where the pod runs says kubectl get pods -A -o wide\n`,
      );
      return 1;
    }
    const facts = addresses.map((each) => addressFacts(each, { report, ipam }));
    const text = (): string => facts.map((each) => addressPage(each, report)).join('\n');
    stdout.write(formatTold({ text, value: facts }, flags));
    return 0;
  },
};

/** Meant for an address. */
const NUMBERS = /^\d+(?:\.\d+){2,}/;
/** Of pods and their namespaces, and of containers. */
const NAME = /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?(\/[a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$/;
