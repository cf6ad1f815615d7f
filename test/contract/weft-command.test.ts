// The `weft` command against a real status server on loopback: what it writes, and its exit codes.
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';

import type { BugReport } from '../../agent/cli/bug-report.ts';
import { COMMANDS } from '../../agent/cli/commands.ts';
import { createStatusCommand } from '../../agent/cli/commands/status.ts';
import type { Timing } from '../../agent/cli/watching.ts';
import { weft } from '../../agent/cli/weft.ts';
import { type StatusServer, openRefusedStatusServer } from '../../agent/control/status/status-server.ts';
import { VERSION } from '../../agent/version.ts';
import type { NodeReport } from '../../proto/node-report.ts';
import { ipamReport, nodeReport } from '../support/node-report.ts';
import { type Ran, freePort, host, openServer, run as runWeft, wellReport } from './weft-stage.ts';

let facts: NodeReport = nodeReport;
let server: StatusServer;
let env: Readonly<Record<string, string>>;

before(async () => {
  server = await openServer({ status: host, metrics: host }, () => facts);
  env = {
    WEAVE_HTTP_ADDR: `${host}:${server.statusPort}`,
    WEAVE_METRICS_ADDR: `0.0.0.0:${server.metricsPort}`,
    PATH: process.env['PATH'] ?? '',
  };
});
after(() => server.close());

/** In the environment of the server, unless told. */
const run = (args: readonly string[], environment: Readonly<Record<string, string>> = env): Promise<Ran> =>
  runWeft(args, environment);

const page = async (path: string): Promise<string> =>
  (await fetch(`http://${env['WEAVE_HTTP_ADDR']}${path}`)).text();

describe('weft status', () => {
  it('is the page /status; exit code 1 of a node that is not well, 0 of one that is', async () => {
    facts = nodeReport;
    assert.deepEqual(await run(['status']), { code: 1, out: await page('/status'), err: '' });
    facts = wellReport;
    assert.deepEqual(await run(['status']), { code: 0, out: await page('/status'), err: '' });
    facts = { ...wellReport, notReady: ['no address block yet'] }; // the page is a 503 then
    assert.deepEqual(await run(['status']), { code: 1, out: await page('/status'), err: '' });
    facts = nodeReport;
  });
  for (const part of ['peers', 'connections', 'ipam', 'attachments']) {
    it(`${part}: the page, and the same as JSON and YAML`, async () => {
      assert.deepEqual(await run(['status', part]), { code: 0, out: await page(`/status/${part}`), err: '' });
      const headless = (await run(['status', part, '--no-headers'])).out;
      assert.doesNotMatch(headless, /NAME|ADDRESS  |BLOCK  /);
      const { code, out } = await run(['status', '-o', 'json', part]);
      assert.equal(code, 0);
      const value: unknown = JSON.parse(out);
      const report = JSON.parse(JSON.stringify(nodeReport)) as NodeReport; // as: as it was
      const whole = {
        peers: report.peers,
        connections: report.peers,
        ipam: report.ipam,
        attachments: report.ipam.allocations,
      }[part];
      const sorted = (list: unknown): unknown =>
        Array.isArray(list) ? list.map((each) => JSON.stringify(each)).toSorted() : list;
      assert.deepEqual(sorted(value), sorted(whole));
      assert.match((await run(['status', part, '-o', 'yaml'])).out, /^(?:- )?\w+: /);
    });
  }
  it('the whole report, with its own keys', async () => {
    assert.deepEqual(
      JSON.parse((await run(['status', '-o', 'json'])).out),
      JSON.parse(JSON.stringify(nodeReport)),
    );
  });
});

describe('weft status --watch', () => {
  /** Ends after so many looks. */
  async function watched(
    looks: number,
    terminal: { rows: number; columns: number } | undefined,
  ): Promise<Ran> {
    const ended = new AbortController();
    const pauses: number[] = [];
    const timing: Timing = {
      now: () => new Date(Date.UTC(2026, 10, 21, 12, 0, pauses.length)),
      pause: async (milliseconds) => {
        if (pauses.push(milliseconds) === looks) ended.abort();
      },
    };
    let out = '';
    const code = await createStatusCommand(timing).run({
      positionals: ['connections'],
      flags: { watch: '5' },
      env,
      signal: ended.signal,
      stdout: {
        write: (text) => void (out += String(text)),
        isTerminal: terminal !== undefined,
        ...terminal,
      },
      stderr: { write: () => undefined, isTerminal: false },
    });
    assert.deepEqual(pauses, Array(looks).fill(5000));
    return { code, out, err: '' };
  }
  it('appends, each after a line with the time', async () => {
    const text = await page('/status/connections');
    assert.deepEqual(await watched(2, undefined), {
      code: 0,
      out: `--- 2026-11-21T12:00:00.000Z\n${text}--- 2026-11-21T12:00:01.000Z\n${text}`,
      err: '',
    });
  });
  it('redraws in place on a terminal, and no more than fits', async () => {
    const lines = (await page('/status/connections')).trimEnd().split('\n');
    const screen = `${lines.map((line) => `${line}\u001B[K\n`).join('')}\u001B[J`;
    assert.equal(
      (await watched(2, { rows: 24, columns: 80 })).out,
      `\u001B[2J\u001B[H${screen}\u001B[H${screen}`,
    );
    const { out } = await watched(1, { rows: 3, columns: 80 });
    assert.equal(out.split('\n').length, 3);
    assert.ok(out.endsWith('… 2 more lines\u001B[K\u001B[J'), out);
  });
  it('goes on while no agent answers', async () => {
    const before_ = env;
    env = { WEAVE_HTTP_ADDR: `${host}:1` };
    try {
      const { code, out } = await watched(2, undefined);
      assert.equal(code, 1);
      assert.equal(out.match(/^No agent answers at 127\.0\.0\.1:1 \(ECONNREFUSED\)/gm)?.length, 2);
    } finally {
      env = before_;
    }
  });
  for (const seconds of ['0', 'x', '-1', '1e9', '']) {
    it(`refuses --watch=${seconds}`, async () => {
      const { code, err } = await run(['status', `--watch=${seconds}`]);
      assert.deepEqual(
        [code, err],
        [2, `Cannot read "--watch=${seconds}": give seconds from 0.1 to 86400\n`],
      );
    });
  }
});

describe('weft ipam', () => {
  it('tells of one address, a pod, a container', async () => {
    for (const query of ['10.40.0.2', 'default/web', 'web', '0123456789abc']) {
      const { code, out } = await run(['ipam', query]);
      assert.equal(code, 0);
      assert.match(out, /^ +Address: 10\.40\.0\.2\n +State: used for 3h02m\n +Pod: default\/web\n/);
    }
    const [first] = JSON.parse((await run(['ipam', '10.44.0.7', '-o', 'json'])).out) as { state: string }[]; // as: AddressFacts
    assert.equal(first?.state, 'other_node');
    assert.equal((await run(['ipam'])).out, await page('/status/ipam'));
  });
  it('says where to look for a pod that is not here', async () => {
    const { code, out, err } = await run(['ipam', 'default/none']);
    assert.deepEqual([code, out], [1, '']);
    assert.match(
      err,
      /^No pod or container of node "node-a" is called "default\/none": "weft status attachments" lists/,
    );
  });
  for (const query of ['10.40.0.256', '10.40.0.0/26', '1.2.3', 'a b', 'Web', 'fd00::1']) {
    it(`refuses "${query}"`, async () => {
      const { code, err } = await run(['ipam', query]);
      assert.equal(code, 2);
      assert.ok(err.startsWith(`Cannot look up "${query}": give an IPv4 address (10.32.0.7), a pod`), err);
    });
  }
});

describe('weft report', () => {
  it('has every part of the agent', async () => {
    const { code, out } = await run(['report']);
    assert.equal(code, 0);
    const report = JSON.parse(out) as Record<string, unknown>; // as: it is parsed text
    assert.deepEqual(report['report'], JSON.parse(JSON.stringify(nodeReport)));
    assert.deepEqual(report['ipam'], JSON.parse(JSON.stringify(ipamReport)));
    assert.equal(report['metrics'], 'weave_max_ips 1\n');
    assert.equal(report['version'], VERSION);
  });
  it('names the nftables tables as missing when nft refuses, and says so where there is none', async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'weft-command-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const report = async (...script: readonly string[]): Promise<BugReport> => {
      writeFileSync(join(folder, 'nft'), ['#!/bin/sh', ...script, ''].join('\n'), { mode: 0o755 });
      return JSON.parse(
        (await run(['report'], { ...env, PATH: `${folder}:${env['PATH']}` })).out,
      ) as BugReport; // as: of this release
    };
    const refused = await report('echo "Operation not permitted (you must be root)" >&2; exit 1');
    assert.equal(refused.nftables, undefined);
    assert.match(refused.missing['nftables'] ?? '', /^Cannot list .* nft said "Operation not permitted/);
    const none = await report('[ "$3" = ruleset ]');
    assert.deepEqual(none.nftables, { inet: 'there is none', bridge: 'there is none' });
  });
  it('is written when the agent ends in the middle of its answers', async () => {
    const { port, close } = await freePort('HTTP/1.1 200 OK\r\n\r\n{"version":"0.1.0","pe');
    const { code, out } = await run(['report'], { WEAVE_HTTP_ADDR: `${host}:${port}` });
    await close();
    const { missing } = JSON.parse(out) as BugReport; // as: of this release
    assert.equal(code, 1);
    for (const part of ['report', 'ipam']) assert.match(missing[part] ?? '', /is no agent of this release/);
  });
  it('is written without an agent too, and says so by its exit code', async () => {
    const { code, out } = await run(['report'], {
      WEAVE_HTTP_ADDR: `${host}:1`,
      WEAVE_METRICS_ADDR: `${host}:1`,
    });
    assert.equal(code, 1);
    const { missing } = JSON.parse(out) as { missing: Record<string, string> }; // as: of this release
    for (const part of ['report', 'ipam', 'metrics'])
      assert.match(missing[part] ?? '', /^No agent answers at/);
  });
});

const IPV6_LOOPBACK = /^0{31}1 .*lo$/m;
const skip =
  !(existsSync('/proc/net/if_inet6') && IPV6_LOOPBACK.test(readFileSync('/proc/net/if_inet6', 'utf8'))) &&
  'this machine has no IPv6 loopback';

describe('an agent that listens on IPv6', { skip }, () => {
  it('is asked by what the settings say, also where that is every address', async () => {
    const there = await openServer({ status: '::1', metrics: '::' }, () => facts);
    try {
      const { code, out } = await run(['report'], {
        ...env,
        WEAVE_HTTP_ADDR: `[::1]:${there.statusPort}`,
        WEAVE_METRICS_ADDR: `[::]:${there.metricsPort}`,
      });
      const { report, metrics } = JSON.parse(out) as BugReport; // as: of this release
      assert.deepEqual([code, report?.version, metrics], [0, nodeReport.version, 'weave_max_ips 1\n']);
    } finally {
      await there.close();
    }
  });
  it('is named with its address when it does not answer', async () => {
    const { code, err } = await run(['status'], { WEAVE_HTTP_ADDR: '[::]:1' });
    assert.equal(code, 1);
    assert.match(err, /^No agent answers at \[::1\]:1 \(ECONNREFUSED\): /);
  });
});

it('an address that the agent would not take either is told as one', async () => {
  const { code, err } = await run(['status'], { WEAVE_HTTP_ADDR: 'localhost' });
  assert.deepEqual(
    [code, err],
    [1, 'Cannot use WEAVE_HTTP_ADDR="localhost": write an address and a port such as 127.0.0.1:6784\n'],
  );
});

describe('an agent that cannot start', () => {
  it('says why', async () => {
    const { port, close } = await freePort();
    await close();
    const refused = await openRefusedStatusServer(
      { version: '0.1.0', nodeName: 'node-a', reason: () => 'Cannot use WEFT_PORT="x": write a number' },
      { host, port, failed: () => undefined },
    );
    try {
      const there = { WEAVE_HTTP_ADDR: `${host}:${port}` };
      const { code, out } = await run(['status'], there);
      assert.equal(code, 1);
      assert.match(
        out,
        /^node-a is not well: the agent cannot start\n(?:.*\n)* +Ready: no: Cannot use WEFT_PORT="x"/,
      );
      for (const args of [
        ['status', 'peers'],
        ['ipam', '10.32.0.7'],
      ]) {
        assert.deepEqual(await run(args, there), {
          code: 1,
          out: '',
          err: 'The agent of this node cannot start: Cannot use WEFT_PORT="x": write a number\n',
        });
      }
    } finally {
      await refused.close();
    }
  });
});

describe('what answers is no agent', () => {
  for (const [what, answer] of [
    ['another program', 'HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n<html>'],
    [
      'a report that is cut off',
      'HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{"version":"0.1.0","peers":[]}',
    ],
    ['an error', 'HTTP/1.1 500 Internal Server Error\r\n\r\n{"version":"0.1.0"}'],
    ['no HTTP', 'SSH-2.0-OpenSSH_9.2\r\n'],
    ['nothing', ''],
  ] as const) {
    it(what, async () => {
      const { port, close } = await freePort(answer);
      const { code, out, err } = await run(['status'], { WEAVE_HTTP_ADDR: `${host}:${port}` });
      await close();
      assert.deepEqual([code, out], [1, '']);
      assert.match(err, /agent.* look at "kubectl -n weft get pods -o wide".*WEAVE_HTTP_ADDR\n$/);
    });
  }
});

describe('weft', () => {
  it('names its commands as it loads them; each explains itself', async () => {
    const { code, out } = await run(['--help']);
    assert.equal(code, 0);
    for (const entry of COMMANDS) {
      const { name } = entry;
      const command = await entry.load();
      assert.equal(command.name, name);
      assert.ok(out.includes(`  ${name} `), name);
      const help = await run([name, '--help']);
      assert.equal(help.code, 0);
      assert.ok(help.out.startsWith(`Usage: weft ${name}`), help.out);
      assert.ok(command.help.length > 50, name);
      assert.deepEqual(await run(['help', name]), help);
      for (const line of help.out.split('\n')) assert.ok(line.length <= 130, line);
    }
  });
  it('version: of both', async () => {
    assert.equal((await run(['version'])).out, `weft ${VERSION}\nagent 0.1.0\n`);
    assert.deepEqual(JSON.parse((await run(['--version', '-o', 'json'])).out), {
      weft: VERSION,
      agent: '0.1.0',
    });
    assert.equal((await run(['version'], { WEAVE_HTTP_ADDR: `${host}:1` })).code, 0);
  });
  for (const [args, words] of [
    [
      ['stauts'],
      'Cannot run "stauts": there is no such command; did you mean "status"? "weft --help" lists them',
    ],
    [['frobnicate'], 'Cannot run "frobnicate": there is no such command; "weft --help" lists them'],
    [
      ['status', 'peer'],
      'Cannot tell "peer": did you mean "peers"? there is: peers, connections, ipam, attachments',
    ],
    [['status', 'constructor'], 'Cannot tell "constructor": there is: peers, connections, ipam, attachments'],
    [['status', 'peers', 'ipam'], 'Cannot read "ipam": one part can be told at a time'],
    [['status', '--wtach'], 'Cannot read "--wtach": "weft status" has no such flag; did you mean "--watch"?'],
    [['ipam', '10.32.0.1', '10.32.0.2'], 'Cannot read "10.32.0.2": one address or pod at a time'],
    [['report', 'x'], 'Cannot read "x": it takes no argument'],
    [['version', 'nonsense'], 'Cannot read "nonsense": it takes no argument'],
    [['status', '--no-headers'], '--no-headers belongs to a part, as in "weft status peers --no-headers"'],
    [['capture', '--port', '80', '--protocol', 'icmp'], '--port belongs to --protocol tcp or udp'],
    [['capture', '--inner', '--reason', 'egress_no_owner'], '--reason belongs to --dropped'],
    [['capture', '--seconds', 'abc'], '--seconds "abc" cannot be: write a number from 0.1 to'],
    [['capture', '--count', '2.5'], '--count "2.5" cannot be: write a whole number from 1 to 1000000000'],
    [['capture', '--reason', 'bored'], '--reason "bored" is not known; there is: '],
    [['ping', 'node-2', '--port', '0'], '--port "0" cannot be: write a whole number from 1 to 65535'],
    [
      ['trace', '10.32.0.2', '10.32.0.3', '--source-port', '80', '--protocol', 'icmp'],
      '--port and --source-port belong to --protocol tcp or udp',
    ],
    [['completion', 'tcsh'], 'Cannot write a completion for "tcsh": name one of bash, zsh, fish'],
  ] as const) {
    it(`refuses ${args.join(' ')}`, async () => {
      const { code, out, err } = await run(args);
      assert.deepEqual([code, out], [2, '']);
      assert.ok(err.startsWith(words), err);
    });
  }
  it('SIGINT and SIGTERM are heard by what ends well, and else end the program', async () => {
    const heard = async (...args: readonly string[]): Promise<boolean> => {
      let isHeard = false;
      const nowhere = { write: () => undefined, isTerminal: false };
      await weft(args, {
        env: { WEAVE_HTTP_ADDR: `${host}:1`, WEFT_RUN_DIR: '/nowhere' },
        stdout: nowhere,
        stderr: nowhere,
        signal: AbortSignal.abort(),
        hearSignals: () => void (isHeard = true),
      });
      return isHeard;
    };
    for (const args of [['capture'], ['ping', 'node-2'], ['status', '--watch']]) {
      assert.equal(await heard(...args), true, args.join(' '));
    }
    for (const args of [['status'], ['trace', '10.32.0.2', '10.32.0.3'], ['report'], ['ipam'], ['version']]) {
      assert.equal(await heard(...args), false, args.join(' '));
    }
  });
  it('without a command: what there is, on standard error', async () => {
    const { code, out, err } = await run([]);
    assert.deepEqual([code, out], [2, '']);
    assert.match(err, /^Usage: weft COMMAND/);
  });
});
