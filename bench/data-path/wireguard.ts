// Configures a wireguard-go over its UAPI socket (https://www.wireguard.com/xplatform/): keys, the one peer and what may go to it.
import { generateKeyPairSync } from 'node:crypto';
import { createConnection } from 'node:net';
import { text } from 'node:stream/consumers';

import { runScript } from '../../test/lab/command.ts';
import { until } from '../../test/lab/condition.ts';
import { existsSync } from 'node:fs';
import type { NodeNamespace } from '../../test/lab/node-namespace.ts';

const PORT = 51_820;
const SOCKETS = '/run/wireguard';

/** Hexadecimal, as UAPI has them. */
export interface KeyPair {
  readonly privateKey: string;
  readonly publicKey: string;
}

export interface WireguardPeer {
  readonly interface: string;
  readonly own: KeyPair;
  readonly other: KeyPair;
  /** Underlay address of the other node. */
  readonly endpoint: string;
  /** Block of the other node's pods. */
  readonly allowed: string;
}

export function createKeyPair(): KeyPair {
  const { d = '', x = '' } = generateKeyPairSync('x25519').privateKey.export({ format: 'jwk' });
  const hexadecimal = (key: string): string => Buffer.from(key, 'base64url').toString('hex');
  return { privateKey: hexadecimal(d), publicKey: hexadecimal(x) };
}

/** Before wireguard-go starts there: a folder of the node's own for its socket. */
export const prepareWireguard = async ({ place }: NodeNamespace): Promise<void> =>
  void (await runScript(place, [`mkdir -p ${SOCKETS}`, `mount -t tmpfs wireguard ${SOCKETS}`]));

export async function configureWireguard(node: NodeNamespace, peer: WireguardPeer): Promise<void> {
  const path = node.path(`${SOCKETS}/${peer.interface}.sock`);
  await until(() => existsSync(path), { what: `wireguard-go's socket in "${node.name}"` });
  const connection = createConnection(path);
  connection.end(
    [
      'set=1',
      `private_key=${peer.own.privateKey}`,
      `listen_port=${PORT}`,
      `public_key=${peer.other.publicKey}`,
      `endpoint=${peer.endpoint}:${PORT}`,
      `allowed_ip=${peer.allowed}`,
      '\n',
    ].join('\n'),
  );
  const answer = (await text(connection)).trim();
  if (answer !== 'errno=0') throw new Error(`wireguard-go in "${node.name}" answered "${answer}"`);
}
