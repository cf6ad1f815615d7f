// A cluster test file is a life of one cluster in steps: the cluster starts before the first and is closed after the last, a step needs
// the ones before it, so after one that failed the others are skipped. Figures go to context.diagnostic(): table-reporter.ts prints them
// beside the step. The file calls `await enterClusterEnclosure()` first.
import process from 'node:process';
import { type TestContext, after, before, test } from 'node:test';

import { type Cluster, type ClusterOptions, clusterLogs, createCluster } from './cluster.ts';

export type StepBody = (cluster: Cluster, context: TestContext) => Promise<void>;

export interface ClusterSteps {
  readonly step: (name: string, body: StepBody) => void;
  /** Progress, on the output while a step runs. */
  readonly say: (text: string) => void;
}

const say = (text: string): void => console.log(`cluster: ${text}`);

/** Once per file. */
export function createClusterSteps(options: Omit<ClusterOptions, 'say'>): ClusterSteps {
  let cluster: Cluster | undefined;
  let failed = false;

  before(async () => {
    try {
      cluster = await createCluster({ ...options, say });
    } catch (error) {
      console.log(error);
      console.log(clusterLogs());
      process.exit(1); // the programs that did start would keep this one waiting
    }
  });
  after(() => cluster?.close());

  const step: ClusterSteps['step'] = (name, body) => {
    void test(name, async (context) => {
      if (failed || cluster === undefined) return context.skip('an earlier step failed');
      try {
        await body(cluster, context);
      } catch (error) {
        failed = true;
        console.log(cluster.logs());
        throw error;
      }
    });
  };
  return { step, say };
}
