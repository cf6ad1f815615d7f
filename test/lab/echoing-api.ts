// An API server, or a proxy before one, that refuses everything and quotes the whole request in its refusals, the token too: what of it an
// agent repeats is up to the agent. Arguments: address, port.
import { createServer } from 'node:http';
import process from 'node:process';

const [, , address = '', port = ''] = process.argv;
const CODES = [403, 401, 500, 400, 502] as const;
let requests = 0;

createServer((request, response) => {
  const code = CODES[requests++ % CODES.length] ?? 500;
  const head = Object.entries(request.headers).map(([name, value]) => `${name}: ${String(value)}`);
  const message = `${request.method} ${request.url} with ${head.join(', ')} is refused`;
  const status = { kind: 'Status', apiVersion: 'v1', status: 'Failure', message, reason: message, code };
  request.resume();
  response.writeHead(code, { 'content-type': 'application/json' });
  response.end(code === 502 ? message : JSON.stringify(status)); // a proxy's own answer is no Status
}).listen(Number(port), address);
