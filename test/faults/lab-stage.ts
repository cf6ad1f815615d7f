// The tour's stage in the lab: three nodes with real agents and the embedded API server. The caller is inside the enclosure.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

import type { LogLine } from '../cluster/agent-log.ts';
import type { AgentEnvironment } from '../lab/agent.ts';
import { NETWORK_CONFIG, SHIM } from '../lab/pod.ts';
import { tryCommand } from '../lab/command.ts';
import { UNDERLAY_GATEWAY } from '../lab/node-namespace.ts';
import { type Lab, type LabNode, createLab } from '../lab/lab.ts';
import type { NodeFault } from '../../proto/node-report.ts';
import type { Stage, StageApi, StageNode } from './stage.ts';

const WEFT = fileURLToPath(new URL('../../agent/cli/weft.ts', import.meta.url));
const API_PORT = 6443;

/** A folder of the node's own for CNI configurations, so that the agent looks after one. */
export const LAB_CNI_FOLDER = '/run/weft/cni-net.d';
const CNI_TEMPLATE = '/run/weft/template.conflist';
const SETTINGS: AgentEnvironment = {
  WEFT_SELF_CHECK_SECONDS: '6',
  IPALLOC_RANGE: '10.32.0.0/22', // small, so that it can be exhausted
  WEFT_BLOCK_QUARANTINE_SECONDS: '5', // or what is freed would be missing for ten minutes
  WEFT_CNI_CONF_DIR: LAB_CNI_FOLDER,
  WEFT_CNI_TEMPLATE: CNI_TEMPLATE,
  WEFT_CNI_BIN_DIR: dirname(SHIM),
};

export async function createLabStage(): Promise<Stage> {
  const lab = await createLab({ faults: true });
  const nodes = await lab.addNodes(['node-1', 'node-2', 'node-3'], { start: false });
  for (const { namespace, agent } of nodes) {
    mkdirSync(namespace.path(LAB_CNI_FOLDER));
    writeFileSync(
      namespace.path(CNI_TEMPLATE),
      JSON.stringify({ ...NETWORK_CONFIG, plugins: [{ type: 'weft' }], type: undefined }),
    );
    agent.start(SETTINGS);
  }
  await Promise.all(nodes.map(({ agent }) => agent.ready(60_000)));
  const made = await Promise.all(nodes.map((node) => stageNode(lab, node)));
  const [first, second, third] = made;
  if (first === undefined || second === undefined || third === undefined) throw new Error('No nodes');
  return { kind: 'lab', nodes: [first, second, third], api: stageApi(lab), close: () => lab.close() };
}

async function stageNode(lab: Lab, node: LabNode): Promise<StageNode> {
  const { namespace, agent, name } = node;
  const pod = await node.addPod(`pod-of-${name}`);
  const settings = {
    HOSTNAME: name,
    WEFT_NODE_IP: namespace.address,
    KUBECONFIG: lab.api.kubeconfig,
    ...SETTINGS,
  };
  return {
    kind: 'lab',
    name,
    address: namespace.address,
    place: namespace.place,
    path: namespace.path,
    podAddress: pod.address,
    podPlace: () => pod.place,
    pidOf: (role) => agent.pidOf(role),
    metrics: async () => {
      const address = `http://${namespace.address}:6782/metrics`;
      const { status, stdout } = await tryCommand(namespace.place, ['curl', '-sSf', '-m', '5', address]);
      return status === 0 ? stdout : undefined;
    },
    log: async () => parseLines(readFileSync(agent.logFile, 'utf8')),
    doctor: async () => {
      const command = [
        process.execPath,
        '--disable-warning=ExperimentalWarning',
        WEFT,
        'doctor',
        '-o',
        'json',
      ];
      const { stdout, stderr } = await tryCommand(namespace.place, command, { env: settings });
      return decodeFindings(stdout, stderr);
    },
    restartAgent: async (more = {}) => {
      await agent.stop();
      agent.start({ ...SETTINGS, ...more });
    },
    startSecondAgent: async () => {
      const second = agent.startBeside(SETTINGS);
      await second.ready();
      return () => second.process.stop();
    },
  };
}

function stageApi({ api }: Lab): StageApi {
  const expect = async (method: string, path: string, body?: object): Promise<unknown> => {
    const answer = await api.send(method, path, body);
    if (answer.status >= 300)
      throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
    return answer.body;
  };
  return {
    address: UNDERLAY_GATEWAY,
    port: API_PORT,
    read: (path) => expect('GET', path),
    create: async (path, object) => void (await expect('POST', path, object)),
    replace: async (path, object) => void (await expect('PUT', path, object)),
    remove: async (path) => void (await expect('DELETE', path)),
    forbid: async () => {
      await expect('PUT', '/faults', [{ action: 'respond', code: 403, count: 1_000_000 }]);
      await expect('POST', '/faults/watches', { action: 'end' });
      return async () => void (await expect('DELETE', '/faults'));
    },
  };
}

export function parseLines(text: string): readonly LogLine[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as LogLine); // as: the agent's own form, which other tests check
}

export function decodeFindings(stdout: string, stderr: string): readonly NodeFault[] {
  try {
    return (JSON.parse(stdout) as { readonly findings: readonly NodeFault[] }).findings; // as: the doctor's own form
  } catch (cause) {
    throw new Error(`weft doctor gave no diagnosis: ${stdout.slice(0, 300)} ${stderr}`, { cause });
  }
}
