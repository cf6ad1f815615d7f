// What a check of the doctor is: a pure function from a scene to what it finds there. Its four texts are the documentation's table, which
// docs.test.ts compares; a finding adds the values, and where it knows better, its own reason and remedy.
import type { Repair } from './repair.ts';
import type { KernelList, Scene } from './scene.ts';

/** error: traffic is lost or pods cannot be attached, or soon so. warning: it works, and somebody should look. */
export type Severity = 'error' | 'warning';

export interface Found {
  readonly severity: Severity;
  /** What is wrong, with the values. */
  readonly what: string;
  /** Unless it is the check's. */
  readonly why?: string;
  /** The command or step; unless it is the check's. */
  readonly fix?: string;
  /** What --fix does about it; only what the agent itself would put right, or what cannot hurt traffic. */
  readonly repairs?: readonly Repair[];
}

export interface Check {
  readonly id: string;
  /** What it finds, in a few words. */
  readonly finds: string;
  /** Why that matters. */
  readonly why: string;
  /** The command or step that fixes it. */
  readonly fix: string;
  /** It is not run without these lists of the kernel: what is in none would be told as missing. */
  readonly needs?: readonly KernelList[];
  run(scene: Scene): readonly Found[];
}

export interface Finding extends Required<Found> {
  readonly check: string;
}

/** The agent's pod of the node, in the commands of `fix`; other firewalls' chains have names such as KUBE-POD-FW-X. */
const POD = /(?<=kubectl -n weft \w+ )(?:pod )?POD\b/g;

/** For a shell: the name that kubectl finds, so that the line works as it stands. */
const agentPodOf = (node: string): string =>
  `"$(kubectl -n weft get pods -l app.kubernetes.io/name=weft --field-selector spec.nodeName=${node} -o name)"`;

/** Errors first, then in the order of the checks. */
export function examine(scene: Scene, checks: readonly Check[]): readonly Finding[] {
  const { missing } = scene.kernel;
  const able = checks.filter(({ needs = [] }) => !needs.some((list) => missing.has(list)));
  const findings = able.flatMap((check) =>
    check.run(scene).map(({ severity, what, why, fix, repairs }): Finding => ({
      check: check.id,
      severity,
      what,
      why: why ?? check.why,
      fix: (fix ?? check.fix).replace(POD, () => agentPodOf(scene.settings.nodeName)),
      repairs: repairs ?? [],
    })),
  );
  return findings.toSorted((a, b) => Number(a.severity === 'warning') - Number(b.severity === 'warning'));
}
