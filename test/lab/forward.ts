// Makes the status address of a lab's node reachable from outside: `node test/lab/forward.ts DEMO NODE [PORT]`, with the process ids that
// "npm run demo -- --keep" prints. This process listens where it was started and hands the listening socket to a child inside the node's
// network, which joins each connection to the agent's address there. What kubectl port-forward is for a pod.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { type AddressInfo, Server, type Socket, connect, createServer } from 'node:net';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const THIS_FILE = fileURLToPath(import.meta.url);
const HOST = '127.0.0.1';
const STATUS_PORT = 6784;
const USUAL_PORT = 6790;
const INSIDE = '--inside';

export interface Forward {
  readonly port: number;
  /** Resolves when the other end is gone. */
  readonly ended: Promise<void>;
  close(): void;
}

/** `enter`: the words that enter the node. `port`: to listen on here, 0 = any. Throws with the errno when it is taken. */
export async function openForward({
  enter,
  port,
}: {
  enter: readonly string[];
  port: number;
}): Promise<Forward> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, HOST, resolve);
  });
  const listening = server.address() as AddressInfo; // as: it listens on TCP
  const [program = '', ...words]: readonly string[] = [
    ...enter,
    process.execPath,
    '--disable-warning=ExperimentalWarning',
    THIS_FILE,
    INSIDE,
  ];
  const child = spawn(program, words, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  const ended = new Promise<void>((resolve) => child.on('exit', () => resolve()));
  child.send('listening', server, {}, () => server.close()); // from now on the child's
  return { port: listening.port, ended, close: () => child.disconnect() };
}

function join(socket: Socket): void {
  const agent = connect(STATUS_PORT, HOST);
  const end = (): void => {
    socket.destroy();
    agent.destroy();
  };
  for (const side of [socket, agent]) side.on('error', end).on('close', end);
  socket.pipe(agent);
  agent.pipe(socket);
}

/** The demo's program outside, `unshare`, and the first process of its enclosure. */
function enclosureOf(demo: number): number {
  const childOf = (pid: number): number =>
    Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim());
  return childOf(childOf(demo));
}

async function main([demo, node, port = String(USUAL_PORT)]: readonly string[]): Promise<void> {
  const pids = [demo, node, port].map(Number);
  if (pids.length < 3 || pids.some((each) => !Number.isInteger(each) || each <= 0)) {
    process.stderr.write(
      'Write the two process ids that "npm run demo -- --keep" prints: node test/lab/forward.ts DEMO NODE [PORT]\n',
    );
    process.exit(2);
  }
  const outer = ['nsenter', '-t', String(enclosureOf(Number(demo))), '-n', '-m', '-p'];
  const inner = ['nsenter', '-t', String(node), '-n'];
  const forward = await openForward({ enter: [...outer, ...inner], port: Number(port) });
  process.stderr.write(`http://${HOST}:${forward.port}/map; Ctrl-C ends it\n`);
  await forward.ended;
}

if (process.argv[2] === INSIDE) {
  process.on('message', (_, server) => {
    if (server instanceof Server) server.on('connection', join);
  });
  process.on('disconnect', () => process.exit(0));
} else if (process.argv[1] === THIS_FILE) {
  await main(process.argv.slice(2));
}
