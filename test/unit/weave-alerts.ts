// The alerts that clusters with Weave Net have: those of kube-prometheus (kube-prometheus-weave-net.libsonnet, Apache-2.0), names,
// expressions and patience as they stand there. With Weft's agents they must go on to mean what they did.

export interface WeaveAlert {
  readonly name: string;
  readonly expression: string;
  readonly minutes: number;
}

const alert = (name: string, expression: string, minutes = 3): WeaveAlert => ({ name, expression, minutes });

export const WEAVE_ALERTS: readonly WeaveAlert[] = [
  alert(
    'WeaveNetIPAMSplitBrain',
    'max(weave_ipam_unreachable_percentage) - min(weave_ipam_unreachable_percentage) > 0',
  ),
  alert('WeaveNetIPAMUnreachable', 'weave_ipam_unreachable_percentage > 25', 10),
  alert('WeaveNetIPAMPendingAllocates', 'sum(weave_ipam_pending_allocates) > 0'),
  alert('WeaveNetIPAMPendingClaims', 'sum(weave_ipam_pending_claims) > 0'),
  alert('WeaveNetFastDPFlowsLow', 'sum(weave_flows) < 15000'),
  alert('WeaveNetFastDPFlowsOff', 'sum(weave_flows == bool 0) > 0'),
  alert('WeaveNetHighConnectionTerminationRate', 'rate(weave_connection_terminations_total[5m]) > 0.1', 5),
  alert('WeaveNetConnectionsConnecting', 'sum(weave_connections{state="connecting"}) > 0'),
  alert('WeaveNetConnectionsRetying', 'sum(weave_connections{state="retrying"}) > 0'),
  alert('WeaveNetConnectionsPending', 'sum(weave_connections{state="pending"}) > 0'),
  alert('WeaveNetConnectionsFailed', 'sum(weave_connections{state="failed"}) > 0'),
];
