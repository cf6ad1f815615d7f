// `weft doctor`: looks at the records, the kernel, the API and the wire of this node, and names what is wrong. agent/doctor/ has the checks.
import type { Command, Invocation } from '../command.ts';
import { wrongUse } from '../flags.ts';
import { OUTPUT, formatTold } from '../told-forms.ts';
import type { Finding } from '../../doctor/check.ts';
import { examine } from '../../doctor/check.ts';
import { CHECKS } from '../../doctor/checks.ts';
import { type Diagnosis, formatDiagnosis } from '../../doctor/diagnosis-text.ts';
import { gatherScene } from '../../doctor/gather.ts';
import { openHands } from '../../doctor/hands.ts';
import { applyRepair } from '../../doctor/repair.ts';
import { OperationError } from '../../operation-error.ts';

const FOUND = 1;

const HELP = `Looks for what is wrong with this node: it holds the agent's records, the
kernel's interfaces, routes, rules and packet filters (of all programs), the
API and the signs of life of the other nodes against each other. It takes
about three seconds, sends no packet of a pod and changes nothing, unless
--fix is given. Each finding says what is wrong, why that matters, and what to
do about it.

It works without an agent too, and then says why there is none. On a node: as
root, with the agent's settings in the environment where they are not the
defaults.

  kubectl -n weft exec ds/weft -- weft doctor
  weft doctor --only foreign_rules -o json

Exit code: 0 nothing was found, 1 something was, 2 wrong use. All checks:
docs/operations/doctor.md.
`;

export const doctorCommand: Command = {
  name: 'doctor',
  usage: '[flags]',
  summary: 'what is wrong with this node, why it matters, and how to put it right',
  help: HELP,
  flags: {
    output: OUTPUT,
    fix: { type: 'boolean', meaning: 'put right what is safe: what the agent itself would put right' },
    only: {
      type: 'string',
      value: 'CHECK',
      words: CHECKS.map(({ id }) => id),
      meaning: 'one check alone',
    },
    verbose: { type: 'boolean', short: 'v', meaning: 'list the checks that found nothing, too' },
  },
  async run({ positionals, flags, env, stdout }) {
    if (positionals.length > 0)
      throw wrongUse(`Cannot read "${positionals[0]}": "weft doctor" takes flags only`);
    const checks = CHECKS.filter(({ id }) => flags['only'] === undefined || id === flags['only']);
    const startedMs = performance.now();
    const scene = await gatherScene(env);
    const findings = examine(scene, checks);
    const { repairs, failures } = flags['fix'] === true ? repairAll(findings) : NOTHING_DONE;
    const diagnosis = {
      node: scene.settings.nodeName,
      version: scene.version,
      seconds: (performance.now() - startedMs) / 1000,
      findings: findings.map(({ repairs: possible, ...finding }) => ({
        ...finding,
        fixable: possible.length > 0,
      })),
      checks: checks.map(({ id, finds }) => ({ id, finds })),
      repairs,
      failures,
      unseen: scene.unseen,
    };
    const text = (): string =>
      formatDiagnosis(diagnosis, { verbose: flags['verbose'] === true, columns: columnsOf(stdout) });
    stdout.write(formatTold({ text, value: diagnosis }, flags));
    return findings.length === 0 ? 0 : FOUND;
  },
};

const columnsOf = ({ columns }: Invocation['stdout']): number => columns ?? 120;

/** What was done, and what could not be, and why. */
type Done = Pick<Diagnosis, 'repairs' | 'failures'>;

const NOTHING_DONE: Done = { repairs: [], failures: [] };

function repairAll(findings: readonly Finding[]): Done {
  const wanted = findings.flatMap(({ repairs }) => repairs);
  if (wanted.length === 0) return NOTHING_DONE;
  const hands = openHands();
  const repairs: string[] = [];
  const failures: string[] = [];
  try {
    for (const repair of wanted) {
      try {
        repairs.push(applyRepair(repair, hands));
      } catch (error) {
        if (!(error instanceof OperationError)) throw error;
        failures.push(error.message);
      }
    }
  } finally {
    hands.close();
  }
  return { repairs, failures };
}
