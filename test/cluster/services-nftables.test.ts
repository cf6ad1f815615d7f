// Services on a real cluster whose kube-proxy runs in nftables mode (service-steps.ts).
import { enterClusterEnclosure } from './cluster.ts';
import { defineServiceSteps } from './service-steps.ts';

await enterClusterEnclosure();

defineServiceSteps('nftables');
