// What looks like a credential in a text, whosever it is, left out of what is logged or sent with a bug report: both are read by more people than
// may have its rights. Rather a harmless word too many than a secret too few; a path that ends in "token" and what follows it is left alone.

const LEFT_OUT = '[left out]';

/** A word that ends so names one: access_token, AWS_SECRET_ACCESS_KEY, client-key-data. */
const NAMED =
  /(?:token|passw(?:or)?d|passphrase|secret|(?:api|access|client|private|secret|signing)[-_]?key(?:[-_]?data)?)/;
/** Between quotes, which a text in a text has behind backslashes, or up to the next blank. */
const VALUE = /(?:(?<quote>\\*["'])(?:\\.|[^\\]){0,4096}?\k<quote>|\\*["']?[^\s"',;]+)/;

const SECRETS: readonly (readonly [pattern: RegExp, replacement: string])[] = [
  // JSON web tokens.
  [/(?<![a-z0-9])eyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?/gi, LEFT_OUT],
  [/\b(bearer|basic)(\s+|%20)[\w.~+/=-]{8,}/gi, `$1$2${LEFT_OUT}`],
  [
    new RegExp(
      String.raw`(?<![/\w-])(?<name>[\w-]*${NAMED.source}\\*["']?\s*[=:]\s*)(?!\\*["']?\[left out\])${VALUE.source}`,
      'gi',
    ),
    `$<name>$<quote>${LEFT_OUT}$<quote>`,
  ],
  // Before the host of a URL.
  [/(:\/\/)[^/\s?#"']+@/g, `$1${LEFT_OUT}@`],
  // PEM, also cut off, and in base64.
  [/-----BEGIN [A-Z0-9 ]+-----[\s\S]*?(?:-----END [A-Z0-9 ]+-----|$)/g, LEFT_OUT],
  [/LS0tLS1CRUdJTi[\w+/=]*/g, LEFT_OUT],
];

/** The same text; `known` are credentials that are left out wherever they stand. */
export function withoutSecrets(text: string, known: readonly string[] = []): string {
  const cleaned = known
    .filter((secret) => secret !== '')
    .reduce((clean, secret) => clean.replaceAll(secret, LEFT_OUT), text);
  return SECRETS.reduce((clean, [pattern, replacement]) => clean.replaceAll(pattern, replacement), cleaned);
}
