// A real Kubernetes cluster in one enclosure (test/lab/enclosure.ts): control plane, nodes with containerd, kubelet and kube-proxy, and
// CoreDNS; without a pod network until one is installed. What it makes ends with the program.
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';

import { ENCLOSURE, runCommand, tryCommand } from '../lab/command.ts';
import { LAB_DIRECTORY, enclosingPid, enterEnclosure, isEnclosed } from '../lab/enclosure.ts';
import { createUnderlay } from '../lab/node-namespace.ts';
import { logTail } from '../lab/process.ts';
import { buildPrograms, programFolder } from './build.ts';
import { hasControlGroups, mountControlGroups, removeAbandonedGroups, removeGroups } from './cgroups.ts';
import { type ClusterNode, createClusterNode } from './cluster-node.ts';
import { type ControlPlane, startControlPlane } from './control-plane.ts';
import { enteredImages, ensureImages } from './images.ts';
import { missingLimit } from './machine-limits.ts';
import { type NodePrograms, type ProxyMode, startNodePrograms } from './node-programs.ts';

const GROUPS = 'weft-cluster-';
const LOG_LINES = 8;
const NO_CONTROL_GROUPS =
  'Cannot run Kubernetes here: it needs the memory controller of control groups version 1, which this machine does not mount; boot it with "systemd.unified_cgroup_hierarchy=0"';
const groupsOf = (pid: number): string => `${GROUPS}${pid}`;

export interface EnclosureOptions {
  /** Images beside the usual ones (images.ts) that the file's cluster imports; they are built before the enclosure is entered. */
  readonly moreImages?: readonly string[];
  /** Programs (programs.ts) that only this file runs, compiled before the enclosure is entered. */
  readonly morePrograms?: readonly string[];
}

/** As enterEnclosure; before it the programs are compiled if need be, after it the control groups are removed. */
export async function enterClusterEnclosure({
  moreImages = [],
  morePrograms = [],
}: EnclosureOptions = {}): Promise<void> {
  if (isEnclosed()) return;
  const obstacle = hasControlGroups() ? missingLimit() : NO_CONTROL_GROUPS;
  if (obstacle !== undefined) {
    process.stderr.write(`${obstacle}\n`);
    process.exit(1);
  }
  try {
    await buildPrograms(morePrograms);
    await ensureImages(moreImages);
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(1);
  }
  removeAbandonedGroups(GROUPS);
  process.on('exit', () => removeGroups(groupsOf(process.pid)));
  await enterEnclosure();
}

export interface KubectlOptions {
  readonly stdin?: string;
}

export interface Cluster {
  readonly controlPlane: ControlPlane;
  readonly nodes: readonly (ClusterNode & { readonly programs: NodePrograms })[];
  /** Runs kubectl as the administrator and returns its output. Throws with its error output. */
  readonly kubectl: (words: readonly string[], options?: KubectlOptions) => Promise<string>;
  /** As kubectl; undefined when it fails. */
  readonly tryKubectl: (words: readonly string[]) => Promise<string | undefined>;
  /** The last lines of every log, for a failure's message. */
  readonly logs: () => string;
  /** Ends every program, as a power failure would. */
  readonly close: () => Promise<void>;
}

export interface ClusterOptions {
  readonly nodes: number;
  readonly proxyMode: ProxyMode;
  /** Told of what is done and how long it took. */
  readonly say: (text: string) => void;
}

/** The last lines of every log, also of a cluster that did not start. */
export const clusterLogs = (): string =>
  readdirSync(LAB_DIRECTORY)
    .filter((name) => name.endsWith('.log'))
    .sort()
    .map((name) => `--- ${name}\n${logTail(join(LAB_DIRECTORY, name), LOG_LINES)}`)
    .join('\n');

/** One at a time in an enclosure. Resolves when every node is registered; without a pod network they are not Ready. */
export async function createCluster({ nodes: count, proxyMode, say }: ClusterOptions): Promise<Cluster> {
  const timed = async <T>(what: string, work: Promise<T>): Promise<T> => {
    const start = performance.now();
    const value = await work;
    say(`${what}: ${((performance.now() - start) / 1000).toFixed(1)} s`);
    return value;
  };
  const programs = programFolder();
  const images = enteredImages();
  if (images.length === 0) throw new Error('Cannot start a cluster: await enterClusterEnclosure() before it');
  await mountControlGroups();
  await createUnderlay();
  const controlPlane = await timed('control plane ready', startControlPlane(programs));
  const { authority, kubectl: kubectlCommand } = controlPlane;
  const kubectl: Cluster['kubectl'] = (words, options) =>
    runCommand(ENCLOSURE, [...kubectlCommand, ...words], options);
  await kubectl(
    'create clusterrolebinding kube-proxy --clusterrole=system:node-proxier --user=system:kube-proxy'.split(
      ' ',
    ),
  );

  const createNode = async (index: number): Promise<Cluster['nodes'][number]> => {
    const node = await createClusterNode({ groups: groupsOf(enclosingPid()), name: `node-${index}`, index });
    // Onto it: a copy would not follow the node through a boot.
    return Object.assign(node, {
      programs: await startNodePrograms(node, { programs, images, authority, proxyMode }),
    });
  };
  const indexes = Array.from({ length: count }, (_, index) => index + 1);
  const nodes = await timed('nodes started, images imported', Promise.all(indexes.map(createNode)));
  await kubectl(['apply', '--filename', join(import.meta.dirname, 'dns.yaml')]);
  for (const { name } of nodes) {
    await kubectl(['wait', '--for=create', `node/${name}`, '--timeout=60s']);
  }
  writeTools({ nodes, kubectlCommand });

  return {
    controlPlane,
    nodes,
    kubectl,
    tryKubectl: async (words) => {
      const { status, stdout } = await tryCommand(ENCLOSURE, [...kubectlCommand, ...words]);
      return status === 0 ? stdout : undefined;
    },
    logs: clusterLogs,
    close: async () => {
      await Promise.all(nodes.map((node) => node.crash()));
      await Promise.all(Object.values(controlPlane.processes).map((each) => each.kill()));
    },
  };
}

/** Folder of `kubectl`, ready to use, and of a program per node that runs a command (or a shell) there. */
export const TOOLS: string = join(LAB_DIRECTORY, 'bin');

function writeTools({
  nodes,
  kubectlCommand,
}: {
  nodes: readonly ClusterNode[];
  kubectlCommand: readonly string[];
}): void {
  mkdirSync(TOOLS);
  const quoted = (words: readonly string[]): string =>
    words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');
  const tool = (name: string, lines: readonly string[]): void =>
    writeFileSync(join(TOOLS, name), ['#!/bin/sh', ...lines, ''].join('\n'), { mode: 0o755 });
  tool('kubectl', [`exec ${quoted(kubectlCommand)} "$@"`]);
  for (const { name, place } of nodes) {
    tool(name, ['[ $# -gt 0 ] || set -- "${SHELL:-sh}"', `exec ${quoted(place.enter)} "$@"`]);
  }
}
