// Each check of the doctor finds its fault in a scene that has it, and says nothing about a healthy one.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { describe, it } from 'node:test';

import { parseIpv4, parseMac } from '../../proto/address-text.ts';
import { examine } from '../../agent/doctor/check.ts';
import { CHECKS } from '../../agent/doctor/checks.ts';
import { readFiles } from '../../agent/doctor/sources/files.ts';
import { trafficBetween, type TrafficSample } from '../../agent/doctor/sources/traffic.ts';
import { statsSnapshot } from '../../agent/telemetry/stats-reader.ts';
import { statsIndex } from '../../proto/dataplane-stats.ts';
import type { Scene } from '../../agent/doctor/scene.ts';
import { healthy, report } from './doctor-scene.ts';
import { traffic, withoutLink, withFiles, withPeer, withReport, failed, silent } from './doctor-changes.ts';
import { NETWORK_CASES } from './doctor-cases-network.ts';
import { NODE_CASES } from './doctor-cases-node.ts';

const CASES = [...NODE_CASES, ...NETWORK_CASES];

describe('doctor', () => {
  it('says nothing about a healthy node', () => {
    assert.deepEqual(examine(healthy, CHECKS), []);
  });

  for (const [id, fault, scene, says] of CASES) {
    it(`${id} finds: ${fault}`, () => {
      const found = examine(scene, CHECKS).filter(({ check }) => check === id);
      assert.ok(
        found.some(({ what }) => says.test(what)),
        `expected ${says}, found ${JSON.stringify(found.map(({ what }) => what))}`,
      );
      for (const { why, fix } of found) assert.ok(why !== '' && fix !== '');
    });
  }

  it('has a case for each check, and each check a name of its own', () => {
    const ids = CHECKS.map(({ id }) => id);
    assert.equal(new Set(ids).size, ids.length);
    const tried = new Set(CASES.map(([id]) => id));
    assert.deepEqual(
      ids.filter((id) => !tried.has(id)),
      [],
    );
  });

  it('tells machines that were cloned from a network whose router answers for all', () => {
    const severities = (macs: Readonly<Record<string, string>>): readonly string[] => {
      const neighbours = Object.entries(macs).map(([address, mac]) => ({
        index: 2,
        address: parseIpv4(address),
        mac: parseMac(mac),
        permanent: false,
      }));
      const [peer] = report.peers;
      assert.ok(peer !== undefined);
      const third = { ...peer, name: 'node-d', address: '192.0.2.4', vtepMac: '0e:00:00:00:00:04' };
      const scene = withReport({ peers: [...report.peers, third] });
      return examine({ ...scene, kernel: { ...scene.kernel, neighbours } }, CHECKS)
        .filter(({ check }) => check === 'duplicate_identity')
        .map(({ severity }) => severity);
    };
    const [one, other] = ['12:34:56:78:9a:bc', '52:54:00:00:00:0f'];
    assert.deepEqual(severities({ '192.0.2.2': one, '192.0.2.3': one, '192.0.2.254': other }), ['error']);
    assert.deepEqual(severities({ '192.0.2.2': one, '192.0.2.3': one, '192.0.2.4': other }), ['error']);
    assert.deepEqual(severities({ '192.0.2.2': one, '192.0.2.3': one }), ['warning']);
    assert.deepEqual(severities({ '192.0.2.2': one, '192.0.2.3': one, '192.0.2.254': one }), []);
    assert.deepEqual(severities({ '192.0.2.2': one, '192.0.2.3': one, '192.0.2.4': one }), []);
  });

  it('says nothing about a node that joins while it looks', () => {
    const peers = traffic.peers.map(({ slot, address, port, vtepMac, probes }) => ({
      slot,
      address,
      port,
      vtepMac,
      probes,
    }));
    const [first, second] = peers;
    assert.ok(first !== undefined && second !== undefined);
    const sample = (...known: typeof peers): TrafficSample => ({
      table: { ...traffic.table, peers: known },
      stats: statsSnapshot([new Float64Array(statsIndex(8, 0))], 1),
      firewall: new Map(),
      atMs: 0,
    });
    const newcomer = { ...second, address: parseIpv4('192.0.2.9') };
    const joined = trafficBetween(sample(first), sample(first, { ...newcomer, slot: 5 }));
    const another = trafficBetween(sample(first, second), sample(first, newcomer));
    for (const seen of [joined, another]) {
      assert.deepEqual(
        seen?.peers.map(({ slot }) => slot),
        [first.slot],
      );
      const found = examine({ ...healthy, traffic: { ...traffic, peers: seen?.peers ?? [] } }, CHECKS);
      assert.deepEqual(found, []);
    }
  });

  it('tells the first of many like findings, and puts right all of them', () => {
    const [, , , , port] = healthy.kernel.links;
    assert.ok(port !== undefined);
    const ports = Array.from({ length: 8 }, (_, at) => ({
      ...port,
      name: `vethweq${at}`,
      alias: `weft:q${at}:eth0:10.32.0.${10 + at}`,
      up: false,
    }));
    const scene = { ...healthy, kernel: { ...healthy.kernel, links: [...healthy.kernel.links, ...ports] } };
    for (const check of ['pod_ports', 'pod_guard']) {
      const found = examine(scene, CHECKS).filter((finding) => finding.check === check);
      assert.equal(found.length, 5);
      assert.match(found[4]?.what ?? '', /and 3 more like it/);
      assert.equal(found.flatMap(({ repairs }) => repairs).length, 8);
    }
  });

  it('holds files against the time at which it looks at them, not an earlier one', async (t) => {
    const stateDirectory = mkdtempSync(join(tmpdir(), `doctor-${process.pid}-`));
    t.after(() => rmSync(stateDirectory, { recursive: true }));
    const settings = { ...healthy.settings, stateDirectory, runDirectory: stateDirectory };
    const writtenAt = (name: string, seconds: number): void => {
      writeFileSync(join(stateDirectory, name), '');
      utimesSync(join(stateDirectory, name), seconds, seconds);
    };
    writtenAt('left', 2000);
    const { fromTheFuture } = await readFiles(settings, () => {
      writtenAt('snapshot.json', 1010); // by the agent, meanwhile
      return 1_010_000;
    });
    assert.deepEqual(fromTheFuture, [{ name: 'left', aheadSeconds: 990 }]);
  });

  it('says nothing of a list of the kernel that could not be had', () => {
    for (const list of ['links', 'addresses', 'routes', 'rules', 'neighbours'] as const) {
      const kernel = { ...healthy.kernel, [list]: [], missing: new Set([list]) };
      assert.deepEqual(examine({ ...healthy, kernel }, CHECKS), [], list);
      const [{ what } = { what: '' }, ...others] = examine({ ...silent, kernel }, CHECKS);
      assert.match(what, /none of its processes runs here$/);
      assert.deepEqual(others, [], list);
    }
    assert.notDeepEqual(examine({ ...healthy, kernel: { ...healthy.kernel, links: [] } }, CHECKS), []);
  });

  it('puts errors before warnings', () => {
    const scene: Scene = { ...withPeer(failed), files: withFiles({ snapshotRefusal: 'torn' }).files };
    const severities = examine(scene, CHECKS).map(({ severity }) => severity);
    assert.deepEqual(severities, severities.toSorted());
  });

  it('never proposes to delete the default route, also where no agent has made ours', () => {
    const bare = withoutLink('weft0');
    const routes = bare.kernel.routes.filter(({ protocol }) => protocol !== 0x57);
    const scene: Scene = { ...bare, agent: silent.agent, processes: [], kernel: { ...bare.kernel, routes } };
    for (const { fix } of examine(scene, CHECKS)) assert.doesNotMatch(fix, /ip route del 0\.0\.0\.0\/0/);
  });
});
