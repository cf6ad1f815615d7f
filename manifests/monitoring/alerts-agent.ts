// Alerts about the agents themselves: there, ready, their processes alive and on time.
import { AGENTS, type Alert, NODE, PER_NODE, once } from './alert.ts';

export const AGENT_ALERTS: readonly Alert[] = [
  {
    name: 'WeftNoAgents',
    expression: `absent(up{${AGENTS}} == 1)`,
    minutes: 5,
    severity: 'critical',
    summary: 'No agent of Weft answers Prometheus.',
    description:
      'See whether the agents run ("kubectl -n weft get pods -o wide") and whether Prometheus has them as targets: no alert of Weft can fire without.',
  },
  {
    name: 'WeftManyAgentsDown',
    expression: `count(up{${AGENTS}} == 0) > 2 and count(up{${AGENTS}} == 0) / count(up{${AGENTS}}) > 0.2`,
    minutes: 3,
    severity: 'critical',
    summary: '{{ $value }} agents do not answer Prometheus.',
    description:
      'Look for what they have in common ("kubectl -n weft get pods -o wide"): a roll-out, a firewall on TCP 6782, nodes that are down.',
  },
  {
    name: 'WeftAgentDown',
    expression: `up{${AGENTS}} == 0`,
    minutes: 10,
    severity: 'warning',
    summary: `The agent of node ${NODE} has not answered Prometheus for 10 minutes.`,
    description:
      'Pods that run keep their network as long as the data plane lives; new ones do not start there. See whether the node is up, then "kubectl -n weft logs" of its pod.',
  },
  {
    name: 'WeftAgentNotScraped',
    expression: `(max by (node, pod) (kube_pod_info{namespace="weft",created_by_kind="DaemonSet",created_by_name="weft"}) unless on (node) up{${AGENTS}}) and on () (count(up{${AGENTS},node!=""}) > 0)`,
    minutes: 15,
    severity: 'warning',
    summary: 'Prometheus does not scrape the agent of node {{ $labels.node }} (pod {{ $labels.pod }}).',
    description:
      'The pod is there ("kubectl -n weft get pods -o wide"), but it is no target: it has no address yet, or the scrape configuration leaves it out.',
  },
  {
    name: 'WeftAgentNotReady',
    expression: 'weft_ready == 0',
    minutes: 5,
    severity: 'warning',
    summary: `No pod can be attached on node ${NODE}: its agent is not ready.`,
    description:
      'Its pod says why: "kubectl -n weft exec POD -- weft status", or GET /readyz at 127.0.0.1:6784 of the node.',
  },
  {
    name: 'WeftFaultFound',
    expression: 'sum by (node, instance, job, check) (weft_faults{severity="error"}) > 0',
    minutes: 20,
    severity: 'warning',
    summary: `The agent of node ${NODE} finds a fault on its node: {{ $labels.check }}.`,
    description:
      'The agent looks its node over every ten minutes, and has found it twice. "kubectl -n weft exec POD -- weft doctor" says what is wrong, why it matters and what to do.',
  },
  {
    name: 'WeftSelfCheckStale',
    expression: 'weft_self_check_age_seconds > 3600',
    minutes: 5,
    severity: 'warning',
    summary: `The agent of node ${NODE} has not been able to look its node over for {{ $value | humanizeDuration }}.`,
    description:
      'What WeftFaultFound says of it is as old. "kubectl -n weft exec POD -- weft doctor" shows why it fails; with a WEFT_SELF_CHECK_SECONDS of more than 1200 raise the bound in the rule.',
  },
  {
    name: 'WeftTrouble',
    // Of a small cluster one node that reboots is a tenth of the peers: how long that may take is for the alerts about peers to say.
    expression: 'weft_trouble{code!="PEERS_UNREACHABLE"} == 1',
    minutes: 5,
    severity: 'warning',
    summary: `The agent of node ${NODE} has trouble that a person has to put right: {{ $labels.code }}.`,
    description:
      'The sentence with the remedy is in "weft status", in the agent\'s log and in "kubectl describe node"; docs/operations/refusals.md has each code.',
  },
  {
    name: 'WeftClusterProblems',
    expression: 'max(weft_cluster_problems) > 0',
    minutes: 15,
    severity: 'warning',
    summary: 'The objects of the cluster contradict each other in {{ $value }} places.',
    description:
      'Each is a "Problem" in "weft status" of any node: two nodes of one address or identity, a node without an address, a block that is not of the range.',
  },
  {
    name: 'WeftDataplaneDown',
    expression: 'weft_role_up{role="dataplane"} == 0',
    minutes: 1,
    severity: 'critical',
    summary: `The data plane of node ${NODE} does not run: its pods are cut off from the other nodes.`,
    description:
      'The keeper starts it again and again: the reason is in "kubectl -n weft logs" of its pod, events dataplane_failed and role_failed_to_start.',
  },
  {
    name: 'WeftDataplaneStuck',
    expression: 'increase(weft_dataplane_passes_total[2m]) == 0',
    minutes: 1,
    severity: 'critical',
    summary: `Worker {{ $labels.worker }} of the data plane of node ${NODE} has stood still for minutes.`,
    description:
      "Its flows get no packets. It hangs, or it ended and cannot be started again: see whether the node is out of CPU or memory; deleting the agent's pod starts the worker anew.",
  },
  {
    name: 'WeftDataplaneRestarting',
    // Half-way between two counts: increase() extrapolates, so that one restart may be told as 1.03.
    expression: 'increase(weft_role_restarts_total{role="dataplane"}[15m]) > 1.5',
    minutes: 0,
    severity: 'warning',
    summary: `The data plane of node ${NODE} was started again {{ $value | printf "%.0f" }} times within 15 minutes.`,
    description:
      'Each costs some packets. "kubectl -n weft logs" says why (agent_failed, dataplane_failed, role_restarted); killed for memory shows in "kubectl describe pod".',
  },
  {
    name: 'WeftControlRestarting',
    expression: 'increase(weft_role_restarts_total{role="control"}[15m]) > 2.5',
    minutes: 0,
    severity: 'warning',
    summary: `Control of node ${NODE} was started again {{ $value | printf "%.0f" }} times within 15 minutes.`,
    description:
      'Packets go on; pods that start or end wait. "kubectl -n weft logs" says why (agent_failed, role_restarted).',
  },
  {
    name: 'WeftDataplanePauses',
    expression: `max ${PER_NODE} (weft_dataplane_longest_pause_seconds) > 0.5`,
    minutes: 10,
    severity: 'warning',
    summary: `The data plane of node ${NODE} leaves packets waiting for up to {{ $value | humanizeDuration }}.`,
    description:
      'The node is short of CPU or memory, or stands still as a virtual machine: look at its load, steal time and swapping, and at what else has its cores.',
  },
  {
    name: 'WeftDataplaneStarved',
    expression: `max ${PER_NODE} (rate(weft_dataplane_run_delay_seconds_total[5m])) > 0.2`,
    minutes: 15,
    severity: 'warning',
    summary: `The data plane of node ${NODE} waits for a processor {{ $value | humanizePercentage }} of the time.`,
    description:
      'Packets are late and lost meanwhile. Give the agents a larger CPU request, or the node less work; docs/operations/sizing.md says how much is usual.',
  },
  {
    name: 'WeftEventLoopDelay',
    expression: 'weft_event_loop_delay_seconds{statistic="p99"} > 0.5',
    minutes: 10,
    severity: 'warning',
    summary: `Control of node ${NODE} is held up by {{ $value | humanizeDuration }} at a time.`,
    description:
      'Pods start and end late there. The node is short of CPU or its disk is slow; if it is neither, "weft report" of this node belongs in a bug report.',
  },
  {
    name: 'WeftMemoryHigh',
    expression: `sum ${PER_NODE} (${once('weft_role_memory_bytes{kind="pss"}')}) > 512 * 1024 * 1024`,
    minutes: 15,
    severity: 'warning',
    summary: `The agent of node ${NODE} uses {{ $value | humanize1024 }}B of memory; its limit is 640 MiB.`,
    description:
      'At the limit the kernel kills one of its processes. See which role it is ("weft_role_memory_bytes"); raise the limit, and report it with "weft report".',
  },
  {
    name: 'WeftVersionSkew',
    expression: 'count(count by (version) (weft_build_info)) > 1',
    minutes: 720,
    severity: 'warning',
    summary: '{{ $value }} versions of Weft have run side by side for 12 hours.',
    description:
      'A roll-out has stopped or was forgotten: "kubectl -n weft rollout status daemonset/weft" and "kubectl get peers -o wide" show where.',
  },
];
