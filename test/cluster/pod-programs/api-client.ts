// Runs in a pod (tool-pods.ts): `ADDRESS:PORT…`. Asks the API server at each for its version, as a program in a pod does: with the service
// account's token, over TLS that the cluster's authority vouches for. Prints a line "ADDRESS:PORT VERSION" for each that answers in 5 s.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import process from 'node:process';

const ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

const ca = readFileSync(`${ACCOUNT}/ca.crt`);
const authorization = `Bearer ${readFileSync(`${ACCOUNT}/token`, 'utf8')}`;
for (const server of process.argv.slice(1)) {
  try {
    const asked = request(`https://${server}/version`, {
      ca,
      servername: 'kubernetes.default.svc',
      headers: { authorization },
      agent: false,
      signal: AbortSignal.timeout(5000),
    });
    asked.end();
    const [response] = (await once(asked, 'response')) as [IncomingMessage]; // as: the event's contract
    const { gitVersion } = JSON.parse((await response.toArray()).join('')) as { gitVersion: string }; // as: the API's
    console.log(`${server} ${gitVersion}`);
  } catch (error) {
    console.error(`${server}: ${String(error)}`);
  }
}
