// The command line of `npm run cluster`: what it makes of flags, and that it refuses what it would ignore.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { HELP, parseStartOptions } from '../cluster/start-options.ts';

test('three nodes, nftables and Weft unless told otherwise', () => {
  assert.deepEqual(parseStartOptions([], {}), {
    run: { nodes: 3, proxyMode: 'nftables', bare: false, allImages: false },
  });
  assert.deepEqual(parseStartOptions('--nodes 1 --proxy-mode iptables --bare --all-images'.split(' '), {}), {
    run: { nodes: 1, proxyMode: 'iptables', bare: true, allImages: true },
  });
  assert.deepEqual(parseStartOptions(['--help'], {}), { help: true });
});

test('a flag goes before KUBE_PROXY_MODE', () => {
  const env = { KUBE_PROXY_MODE: 'iptables' };
  const modeOf = (argv: readonly string[]): string | undefined => {
    const parsed = parseStartOptions(argv, env);
    return 'run' in parsed ? parsed.run.proxyMode : undefined;
  };
  assert.equal(modeOf([]), 'iptables');
  assert.equal(modeOf(['--proxy-mode', 'nftables']), 'nftables');
});

test('refuses what it does not know, in a sentence', () => {
  for (const argv of [
    ['--node', '3'],
    ['--nodes', '0'],
    ['--nodes', 'two'],
    ['--proxy-mode', 'ipvs'],
    ['extra'],
  ]) {
    const parsed = parseStartOptions(argv, {});
    assert.ok('refused' in parsed, argv.join(' '));
    assert.doesNotMatch(parsed.refused, /\n/);
  }
});

test('the help names every flag', () => {
  for (const flag of ['--nodes', '--proxy-mode', '--bare', '--all-images', '--help']) {
    assert.ok(HELP.includes(`\n  ${flag} `), flag);
  }
});
