// What is left out of a text as a secret, in the forms that programs tell theirs in, and what is not.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { withoutSecrets } from '../../agent/secrets.ts';

const SECRETS = [
  'eyJhbGciOiJSUzI1NiJ9.eyJjYW5hcnkiOjF9.Q0FOQVJZ-canary',
  'id_eyJhbGciOiJSUzI1NiJ9.eyJjYW5hcnkiOjF9',
  'Authorization: Bearer canary0123456',
  'authorization=Bearer%20canary0123456',
  'Basic Y2FuYXJ5OmNhbmFyeQ==',
  'token=canary0123',
  '?access_token=canary&x=1',
  'client_secret=canary',
  'clientSecret: canary',
  'AWS_SECRET_ACCESS_KEY=canary/with/slashes',
  'PGPASSWORD=canary',
  'client-key-data: LS0tLS1CRUdJTiBDQU5BUlk=',
  'data LS0tLS1CRUdJTiBDQU5BUlk=',
  '"password": "canary"',
  '"password": "a canary with \\" quotes canary"',
  "passphrase='a canary in words'",
  String.raw`body {\"token\":\"canary\",\"user\":\"x\"}`,
  String.raw`body {\\\"token\\\":\\\"canary\\\"}`,
  'token: "canary',
  'apiKey: canary',
  'https://user:canary@192.0.2.1:6443/',
  'https://user:c@nary:canary@192.0.2.1:6443/',
  'https://canary@192.0.2.1/',
  '-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----',
  '-----BEGIN RSA PRIVATE KEY-----\ncanary that is cut o',
];

const HARMLESS = [
  'Unexpected token } in JSON at position 5',
  'the token is not valid any more',
  'Cannot read "/var/run/secrets/kubernetes.io/serviceaccount/token": ENOENT: it is missing',
  '/run/secrets/tokens/weft-token: no such file',
  'secrets "web" is forbidden: User "system:serviceaccount:weft:weft" cannot get resource',
  'secretName: web-tls',
  'KEY      VALUE\nkey: value, keys: 3',
  'set bridge weft pods { type ifname . ether_addr . ipv4_addr; elements = { "vethwe1" } }',
  'https://192.0.2.1:6443/apis/weft/v1/peers?user=a@b',
  'kubectl -n weft logs POD -c agent',
  'weft_peer_egress_bytes_total{peer="node-1"} 12',
  'basic set-up',
];

describe('withoutSecrets', () => {
  for (const secret of SECRETS) {
    it(`leaves out ${JSON.stringify(secret.slice(0, 32))}`, () => {
      const clean = withoutSecrets(`Cannot reach it: ${secret}`);
      assert.doesNotMatch(clean, /canary|nary|Q0FOQVJZ|Y2FuYXJ5|CQU5BUlk|jYW5hcnk/i);
      assert.match(clean, /^Cannot reach it: .*\[left out\]/);
      assert.equal(withoutSecrets(clean), clean, 'twice is as once');
    });
  }
  it('leaves out what is known to be one, wherever it stands', () => {
    assert.equal(withoutSecrets('a canary here', ['canary', '']), 'a [left out] here');
  });
  it('keeps what stands around it', () => {
    assert.equal(
      withoutSecrets('{"token":"a b","user":"x","password":""} at https://me:pw@192.0.2.1/x'),
      '{"token":"[left out]","user":"x","password":"[left out]"} at https://[left out]@192.0.2.1/x',
    );
  });
  for (const text of HARMLESS) {
    it(`leaves ${JSON.stringify(text.slice(0, 40))} as it is`, () =>
      assert.equal(withoutSecrets(text), text));
  }
});
