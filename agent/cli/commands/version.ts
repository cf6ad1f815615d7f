// `weft version`: of this program, and of the agent that answers.
import { receivedReport } from '../../report/received-report.ts';
import { VERSION } from '../../version.ts';
import { askAgent } from '../agent-client.ts';
import type { Command } from '../command.ts';
import { wrongUse } from '../flags.ts';
import { OUTPUT, formatTold } from '../told-forms.ts';

export const versionCommand: Command = {
  name: 'version',
  usage: '[flags]',
  summary: 'of this program, and of the agent that answers',
  help: `The version of this program and of the agent of this node; the agent's is left out when none answers.
While a node is upgraded the two differ for a moment.
`,
  flags: { output: OUTPUT },
  async run({ positionals, env, flags, stdout }) {
    if (positionals[0] !== undefined) throw wrongUse(`Cannot read "${positionals[0]}": it takes no argument`);
    const agent = await askAgent(env, '/report').then(
      (text) => receivedReport(text)?.version,
      () => undefined, // none runs: the version of this program is told all the same
    );
    const value = { weft: VERSION, ...(agent === undefined ? {} : { agent }) };
    const text = (): string =>
      `weft ${VERSION}\n${agent === undefined ? 'agent: none answers' : `agent ${agent}`}\n`;
    stdout.write(formatTold({ text, value }, flags));
    return 0;
  },
};
