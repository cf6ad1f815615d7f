// The command line of `npm run cluster`. Every refusal is one sentence with the remedy.
import { parseArgs } from 'node:util';

import { type ProxyMode, proxyMode } from './node-programs.ts';

export interface StartOptions {
  readonly nodes: number;
  readonly proxyMode: ProxyMode;
  readonly bare: boolean;
  readonly allImages: boolean;
}

export type ParsedOptions =
  | { readonly run: StartOptions }
  | { readonly help: true }
  | { readonly refused: string };

const MOST_NODES = 9;

export const HELP: string = `npm run cluster -- [flags]

Brings up a Kubernetes cluster in namespaces of this machine, with Weft installed, until Ctrl-C, and says how to use it. Needs root, and
Go the first time: everything is compiled once. Nothing appears outside its namespaces.

  --nodes N           nodes, 1 to ${MOST_NODES} (default 3)
  --proxy-mode MODE   kube-proxy's: nftables or iptables (default KUBE_PROXY_MODE, and nftables without it)
  --bare              without Weft: install it yourself (kubectl apply --filename manifests/weft.yaml)
  --all-images        also import Weft's next version, to upgrade to, and HAProxy
  --help              this text
`;

export function parseStartOptions(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): ParsedOptions {
  try {
    const { values } = parseArgs({
      args: [...argv],
      strict: true,
      options: {
        nodes: { type: 'string', default: '3' },
        'proxy-mode': { type: 'string' },
        bare: { type: 'boolean', default: false },
        'all-images': { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    });
    if (values.help) return { help: true };
    const nodes = Number(values.nodes);
    if (!/^\d+$/.test(values.nodes) || nodes < 1 || nodes > MOST_NODES) {
      return {
        refused: `Cannot use --nodes "${values.nodes}": write a whole number from 1 to ${MOST_NODES}`,
      };
    }
    const { 'proxy-mode': mode, bare, 'all-images': allImages } = values;
    return {
      run: {
        nodes,
        proxyMode: proxyMode({ KUBE_PROXY_MODE: mode ?? env['KUBE_PROXY_MODE'] }),
        bare,
        allImages,
      },
    };
  } catch (error) {
    const reason = error instanceof Error ? (error.message.split(/\.\s/)[0] ?? '') : String(error);
    return {
      refused: `${reason}; "npm run cluster -- --help" lists the flags`,
    };
  }
}
