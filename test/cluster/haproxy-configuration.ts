// HAProxy's configuration as text, out of Ingress and EndpointSlice objects. Pure. A stand-in for the ready-made Ingress controllers, only as
// much of one as the tests need: HTTP, hosts, paths Exact and Prefix, Services of one port or of named ones.

export interface Ingress {
  readonly metadata: { readonly namespace: string; readonly name: string };
  readonly spec: {
    readonly rules?: readonly {
      readonly host?: string;
      readonly http?: {
        readonly paths: readonly {
          readonly path?: string;
          readonly pathType: string;
          readonly backend: {
            readonly service?: { readonly name: string; readonly port?: { readonly name?: string } };
          };
        }[];
      };
    }[];
  };
}

export interface EndpointSlice {
  readonly metadata: {
    readonly namespace: string;
    readonly name: string;
    readonly labels?: Readonly<Record<string, string>>;
  };
  readonly endpoints?:
    | readonly {
        readonly addresses: readonly string[];
        readonly conditions?: {
          readonly ready?: boolean;
          readonly serving?: boolean;
          readonly terminating?: boolean;
        };
      }[]
    | null;
  readonly ports?: readonly { readonly name?: string; readonly port?: number }[] | null;
}

/** Answers with the configuration's version, so that one can see which is in force. */
export const VERSION_PORT = 8404;
export const HTTP_PORT = 8081;

const GLOBAL = `global
  # The next worker takes the listening sockets over: a reload refuses nobody.
  stats socket /run/haproxy.sock mode 600 level admin expose-fd listeners
  hard-stop-after 30s
defaults
  mode http
  timeout connect 1s
  timeout client 10s
  timeout server 10s
  # A pod that has just gone is tried once, and then another one.
  retries 3
  option redispatch 1
  retry-on conn-failure empty-response response-timeout
  option forwardfor`;

interface Route {
  readonly host: string;
  readonly path: string;
  readonly exact: boolean;
  readonly backend: string;
}

interface Backend {
  readonly name: string;
  readonly servers: readonly string[];
}

/** Endpoints that get requests: the ready ones; without any, those that still serve while they end (as kube-proxy does). */
function serversOf(
  slices: readonly EndpointSlice[],
  { namespace, service, port }: { namespace: string; service: string; port: string | undefined },
): readonly string[] {
  const found = slices
    .filter(
      ({ metadata }) =>
        metadata.namespace === namespace && metadata.labels?.['kubernetes.io/service-name'] === service,
    )
    .flatMap(({ endpoints, ports }) => {
      const number = (ports ?? []).find(({ name }) => port === undefined || name === port)?.port;
      return (endpoints ?? []).map(({ addresses, conditions }) => ({
        server: `${addresses[0]}:${number}`,
        ready: conditions?.ready ?? true,
        serving: conditions?.serving ?? true,
      }));
    });
  const ready = found.filter((each) => each.ready);
  const used = ready.length > 0 ? ready : found.filter(({ serving }) => serving);
  return used.map(({ server }) => server).sort();
}

function routesOf({ metadata: { namespace }, spec }: Ingress): readonly (Route & {
  readonly service: string;
  readonly namespace: string;
  readonly port: string | undefined;
})[] {
  return (spec.rules ?? []).flatMap(({ host = '', http }) =>
    (http?.paths ?? []).flatMap(({ path = '/', pathType, backend: { service } }) =>
      service === undefined
        ? []
        : {
            host,
            path,
            exact: pathType === 'Exact',
            backend: `${namespace}_${service.name}_${service.port?.name ?? ''}`,
            service: service.name,
            namespace,
            port: service.port?.name,
          },
    ),
  );
}

/** The order of the Ingress rules: a host before any host, exact before prefix, the longest path first. */
const byPrecedence = (a: Route, b: Route): number =>
  Number(a.host === '') - Number(b.host === '') ||
  Number(b.exact) - Number(a.exact) ||
  b.path.length - a.path.length;

/** A prefix is one of whole elements: /red is one of /red and /red/1, and not of /redder. */
function conditionsOf({ host, path, exact }: Route): readonly string[] {
  const onHost = host === '' ? '' : `{ hdr(host),field(1,:),lower -m str ${host} } `;
  if (exact) return [`${onHost}{ path ${path} }`];
  const element = path.replace(/\/$/, '');
  return [...(element === '' ? [] : [`${onHost}{ path ${element} }`]), `${onHost}{ path_beg ${element}/ }`];
}

const backendLines = ({ name, servers }: Backend): readonly string[] => [
  `backend ${name}`,
  '  balance roundrobin',
  ...servers.map((server) => `  server ${server.replaceAll(/[.:]/g, '-')} ${server}`),
];

/** Without its version: the same objects give the same text. */
export function haproxyConfiguration(
  ingresses: readonly Ingress[],
  slices: readonly EndpointSlice[],
): string {
  const routes = ingresses.flatMap(routesOf).sort(byPrecedence);
  const backends = new Map(
    routes.map((route) => [route.backend, { name: route.backend, servers: serversOf(slices, route) }]),
  );
  return [
    GLOBAL,
    'frontend http',
    `  bind :${HTTP_PORT}`,
    ...routes.flatMap((route) =>
      conditionsOf(route).map((condition) => `  use_backend ${route.backend} if ${condition}`),
    ),
    '  default_backend nobody',
    'backend nobody',
    '  http-request return status 404',
    ...[...backends.values()].flatMap(backendLines),
    '',
  ].join('\n');
}

/** The frontend that tells which configuration is in force. */
export const versionFrontend = (version: string): string =>
  `frontend version\n  bind :${VERSION_PORT}\n  http-request return status 200 content-type text/plain string "${version}"\n`;
