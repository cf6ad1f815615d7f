// `weft report`: what a bug report needs, in one JSON.
import { arch, availableParallelism, release, totalmem, version } from 'node:os';

import { openNft } from '../../linux/nft.ts';
import { VERSION } from '../../version.ts';
import { askAnyReport, askIpam, askMetrics } from '../agent-client.ts';
import { makeBugReport } from '../bug-report.ts';
import type { Command } from '../command.ts';
import { wrongUse } from '../flags.ts';

const TABLE = 'weft';
const FAMILIES = ['inet', 'bridge'];

export const reportCommand: Command = {
  name: 'report',
  usage: '',
  summary: 'one JSON for a bug report, secrets left out',
  help: `Writes one JSON to standard output: versions, kernel, the settings that are set, roles and their restarts, this node's
whole report (peers, blocks, attachments, drops, repairs, the last warnings and errors), who holds which block, Weft's
nftables tables with their counters, and all metrics.

No token, password or key is in it, and nothing that a container runtime sent. It does name nodes, pods and their
addresses: read it before you publish it.

What cannot be had (the agent does not run, no rights for nftables) is named under "missing".

Exit code: 0 the agent's part is in it, 1 it is not.

Examples:
  kubectl -n weft exec ds/weft -- weft report >weft-report.json
`,
  flags: {},
  async run({ positionals, env, stdout }) {
    if (positionals[0] !== undefined) throw wrongUse(`Cannot read "${positionals[0]}": it takes no argument`);
    const report = await makeBugReport({
      version: VERSION,
      writtenAt: new Date(),
      host: {
        kernel: release(),
        kernelBuild: version(),
        machine: arch(),
        processors: availableParallelism(),
        memoryBytes: totalmem(),
        node: process.version,
      },
      report: () => askAnyReport(env),
      ipam: () => askIpam(env),
      nftables: async () => {
        const nft = openNft(env['PATH'] ?? '');
        const tables = await Promise.all(FAMILIES.map((family) => nft.list(family, TABLE)));
        if (tables.includes(undefined)) await nft.listText(); // throws where nothing can be listed: no rights, for one
        return Object.fromEntries(FAMILIES.map((family, at) => [family, tables[at] ?? 'there is none']));
      },
      metrics: () => askMetrics(env),
    });
    stdout.write(`${JSON.stringify(report)}\n`);
    return report.report === undefined ? 1 : 0;
  },
};
