// Whom a request may call us. A page of the web can have its own name resolve to 127.0.0.1 (DNS rebinding) and would then read what this
// address tells; but its requests carry that name. So only names that no one else can own are answered: addresses, localhost, and the
// name that was configured; with any port, since kubectl port-forward chooses it. Pure.
import { isIP } from 'node:net';

/** `header`: of a request, undefined where it has none (HTTP/1.0; no browser). `configured`: the host that is listened on. */
export function isOwnHost(header: string | undefined, configured: string): boolean {
  if (header === undefined) return true;
  const [, bracketed, plain] = /^(?:\[([^\]]*)\]|([^:]*))(?::\d*)?$/.exec(header.toLowerCase()) ?? [];
  if (bracketed !== undefined) return isIP(bracketed) === 6;
  if (plain === undefined) return false;
  return (
    isIP(plain) === 4 ||
    plain === 'localhost' ||
    plain.endsWith('.localhost') ||
    plain === configured.toLowerCase()
  );
}
