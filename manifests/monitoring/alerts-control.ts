// Alerts about what control does: the API, addresses, requests of the container runtime, the node's network.
import { type Alert, NODE, PER_NODE, once } from './alert.ts';

const SHARE_FREE = `min(sum by (instance) (weft_ipam_range_blocks{state="free"}) / sum by (instance) (weft_ipam_range_blocks))`;

export const API_ALERTS: readonly Alert[] = [
  {
    name: 'WeftApiDisconnected',
    expression: 'weft_api_connected == 0',
    minutes: 10,
    severity: 'warning',
    summary: `The agent of node ${NODE} has not reached the Kubernetes API for 10 minutes.`,
    description:
      'What runs goes on, and pods start from the blocks that the node has; new nodes are not heard of. "weft status" there says what the API answers.',
  },
  {
    name: 'WeftApiStale',
    expression: 'weft_api_last_sync_age_seconds > 900 and weft_api_connected == 1',
    minutes: 5,
    severity: 'warning',
    summary: `The agent of node ${NODE} is connected to the Kubernetes API and has heard nothing for {{ $value | humanizeDuration }}.`,
    description:
      'A proxy or load balancer keeps dead connections, or the API server sends no bookmarks. "weft status" there; the agent looks anew by itself, a restart of its pod does it now.',
  },
  {
    name: 'WeftSnapshotOld',
    expression:
      '(weft_snapshot_age_seconds > time() - process_start_time_seconds + 300 and weft_api_connected == 1) or (weft_api_connected == 1 unless weft_snapshot_age_seconds)',
    minutes: 10,
    severity: 'warning',
    summary: `The agent of node ${NODE} has not written its last-known state since it started.`,
    description:
      'After a reboot without the API it would know nothing, or old things. See /var/lib/weft of the node: full, read-only or not its own; snapshot_failed in the log has the error.',
  },
];

export const IPAM_ALERTS: readonly Alert[] = [
  {
    name: 'WeftRangeExhausted',
    expression: `${SHARE_FREE} == 0`,
    minutes: 5,
    severity: 'critical',
    summary: 'No block of the address range is left: nodes whose blocks are full cannot start pods.',
    description:
      'Delete Nodes that are gone (their blocks are freed after the quarantine); "kubectl get addressblocks" shows who holds how many. Otherwise a larger IPALLOC_RANGE, which takes an install anew.',
  },
  {
    name: 'WeftRangeNearlyExhausted',
    expression: `${SHARE_FREE} < 0.1 > 0`,
    minutes: 15,
    severity: 'warning',
    summary: 'Only {{ $value | humanizePercentage }} of the blocks of the address range are left.',
    description:
      'Before nodes or pods are added: delete Nodes that are gone, see who holds many blocks ("kubectl get addressblocks"), or plan for a larger IPALLOC_RANGE.',
  },
  {
    name: 'WeftBlockShortage',
    expression: 'weave_ipam_pending_claims > 0',
    minutes: 5,
    severity: 'critical',
    summary: `Node ${NODE} wants a block of addresses and cannot get one.`,
    description:
      'When its addresses are used up no pod starts there. "weft status ipam" and the log (block_claim_failed, range_exhausted) say why: the API, the range, or the limit for a node.',
  },
  {
    name: 'WeftBlockFenced',
    expression: `sum ${PER_NODE} (${once('weft_ipam_blocks{state="fenced"}')}) > 0`,
    minutes: 15,
    severity: 'warning',
    summary: `{{ $value }} blocks of node ${NODE} are held by another node while pods have addresses of them.`,
    description:
      'Somebody deleted or changed address blocks by hand, or the machine was copied. No new address comes from them; delete the pods that "weft status ipam" lists there.',
  },
  {
    name: 'WeftAllocationLogUnwritable',
    expression: 'weft_ipam_log_writable == 0',
    minutes: 2,
    severity: 'critical',
    summary: `Node ${NODE} cannot write its allocations: no pod gets an address there.`,
    description:
      'See /var/lib/weft of the node: full, read-only, or a disk that fails; allocation_log_unwritable in the log has the error. It goes on by itself when that is put right.',
  },
];

const ADD_SECONDS = `histogram_quantile(0.99, sum by (node, instance, le) (rate(weft_cni_operation_duration_seconds_bucket{verb="ADD"}[15m])))`;

export const NODE_ALERTS: readonly Alert[] = [
  {
    name: 'WeftCniErrors',
    expression: `sum by (node, instance, verb) (${once('increase(weft_cni_operations_total{outcome!="ok"}[15m])')}) > 5`,
    minutes: 5,
    severity: 'warning',
    summary: `{{ $value | printf "%.0f" }} requests of the container runtime ({{ $labels.verb }}) failed on node ${NODE} within 15 minutes.`,
    description:
      'Pods there do not start or end. The reason is in their Events ("kubectl describe pod") and in the agent\'s log (cni_failed).',
  },
  {
    name: 'WeftCniSlow',
    expression: `${ADD_SECONDS} > 1`,
    minutes: 15,
    severity: 'warning',
    summary: `Attaching a pod takes up to {{ $value | humanizeDuration }} on node ${NODE}.`,
    description:
      'weft_cni_step_duration_seconds says which step: "allocate" is the disk under /var/lib/weft, "wait" the node\'s network or the API, "link", "guard" and "configure" the kernel.',
  },
  {
    name: 'WeftNetworkContested',
    expression: `sum ${PER_NODE} (${once('increase(weft_repairs_total{object!~"leaked_.*"}[10m])')}) > 30`,
    minutes: 10,
    severity: 'warning',
    summary: `Somebody undoes the network of node ${NODE} again and again: {{ $value | printf "%.0f" }} repairs within 10 minutes.`,
    description:
      "Find the program and take Weft's interfaces from it: the log (network_contested) says which one by its look; usual are NetworkManager, systemd-networkd, firewalld, another network plugin.",
  },
];
