// OpenAPI v3 structural schemas of Peer and AddressBlock and what kubectl prints of them: exactly what the CRDs carry
// (apiextensions.k8s.io/v1). The embedded API server validates with the same values (api-validation.ts).
// Invariant: structural, so every node has a type and nothing is left to unknown fields, which are pruned.

/** The part of apiextensions.k8s.io/v1 JSONSchemaProps that our kinds use. */
export interface Schema {
  readonly type: 'object' | 'array' | 'string' | 'integer' | 'boolean';
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly pattern?: string;
  readonly format?: 'ipv4' | 'int32';
  readonly minimum?: number;
  readonly maximum?: number;
  readonly 'x-kubernetes-list-type'?: 'atomic' | 'set';
  readonly 'x-kubernetes-validations'?: readonly ValidationRule[];
}

/** A CEL rule. Rules that mention `oldSelf` apply to updates only. */
export interface ValidationRule {
  readonly rule: string;
  readonly message: string;
}

/** additionalPrinterColumns of a CRD version; priority 1 is shown by `-o wide` only. */
export interface PrinterColumn {
  readonly name: string;
  readonly type: 'string' | 'integer' | 'date';
  readonly jsonPath: string;
  readonly description: string;
  readonly priority?: 0 | 1;
}

export interface CustomKind {
  readonly kind: string;
  readonly plural: string;
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly schema: Schema;
  readonly columns: readonly PrinterColumn[];
}

const AGE: PrinterColumn = {
  name: 'Age',
  type: 'date',
  jsonPath: '.metadata.creationTimestamp',
  description: 'Time since the object was created.',
};

const rootSchema = (options: {
  readonly description: string;
  readonly spec: Schema;
  readonly rules?: readonly ValidationRule[];
}): Schema => ({
  type: 'object',
  description: options.description,
  required: ['spec'],
  properties: {
    apiVersion: {
      type: 'string',
      description: 'APIVersion defines the versioned schema of this representation of an object.',
    },
    kind: {
      type: 'string',
      description: 'Kind is a string value representing the REST resource this object represents.',
    },
    metadata: { type: 'object' },
    spec: options.spec,
  },
  ...(options.rules === undefined ? {} : { 'x-kubernetes-validations': options.rules }),
});

const NODE_UID: Schema = {
  type: 'string',
  description:
    'UID of the Node object. It is the identity of the node: a node that was made anew is another one.',
  minLength: 1,
  maxLength: 128,
};

const STATE_ID: Schema = {
  type: 'string',
  description: 'Identity of the state directory of an agent, where the allocations of its blocks are.',
  pattern: '^[0-9a-f]{32}$',
  maxLength: 32,
};

const PEER_SPEC: Schema = {
  type: 'object',
  description: 'How the other nodes reach this node.',
  required: ['nodeUid', 'addresses', 'port', 'vtepMac', 'features', 'version'],
  properties: {
    nodeUid: NODE_UID,
    addresses: {
      type: 'array',
      description: 'IPv4 addresses of the node on the underlay, the preferred one first.',
      minItems: 1,
      maxItems: 16,
      items: { type: 'string', format: 'ipv4', maxLength: 15 },
      'x-kubernetes-list-type': 'atomic',
    },
    port: {
      type: 'integer',
      format: 'int32',
      description: 'UDP port on which the node receives VXLAN.',
      minimum: 1,
      maximum: 65535,
    },
    vtepMac: {
      type: 'string',
      description: 'MAC address of the tunnel endpoint: destination of the inner frames sent to this node.',
      pattern: '^[0-9a-f]{2}(:[0-9a-f]{2}){5}$',
    },
    features: {
      type: 'array',
      description: 'What the node can do beyond plain VXLAN, such as "probe".',
      maxItems: 32,
      items: { type: 'string', pattern: '^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$' },
      'x-kubernetes-list-type': 'set',
    },
    version: { type: 'string', description: 'Version of the agent.', minLength: 1, maxLength: 64 },
    stateId: STATE_ID,
    publicKey: {
      type: 'string',
      description: 'Public key of the node, for encrypted tunnels.',
      minLength: 1,
      maxLength: 256,
    },
  },
};

const ADDRESS_BLOCK_SPEC: Schema = {
  type: 'object',
  description: 'The block and the node that holds it.',
  required: ['cidr', 'node', 'nodeUid'],
  properties: {
    cidr: {
      type: 'string',
      description: 'The block in CIDR notation. The name of the object is the same with "-" for "/".',
      pattern: '^[0-9]{1,3}(\\.[0-9]{1,3}){3}/[0-9]{1,2}$',
      maxLength: 18,
    },
    node: {
      type: 'string',
      description: 'Name of the Node that holds the block.',
      minLength: 1,
      maxLength: 253,
    },
    nodeUid: NODE_UID,
    stateId: STATE_ID,
  },
  'x-kubernetes-validations': [
    { rule: 'self.node == oldSelf.node', message: 'node is immutable: delete the block and claim it again' },
    {
      rule: '!has(oldSelf.stateId) || (has(self.stateId) && self.stateId == oldSelf.stateId)',
      message: 'stateId is immutable: delete the block and claim it again',
    },
  ],
};

export const PEER: CustomKind = {
  kind: 'Peer',
  plural: 'peers',
  singular: 'peer',
  shortNames: ['wp'],
  schema: rootSchema({
    description:
      'Peer is a node of the pod network, as the other nodes reach it. Its name is the name of the node.',
    spec: PEER_SPEC,
  }),
  columns: [
    {
      name: 'Address',
      type: 'string',
      jsonPath: '.spec.addresses[0]',
      description: 'Preferred underlay address.',
    },
    { name: 'Port', type: 'integer', jsonPath: '.spec.port', description: 'UDP port for VXLAN.' },
    { name: 'MAC', type: 'string', jsonPath: '.spec.vtepMac', description: 'Tunnel endpoint.' },
    { name: 'Version', type: 'string', jsonPath: '.spec.version', description: 'Version of the agent.' },
    AGE,
    {
      name: 'Node UID',
      type: 'string',
      jsonPath: '.spec.nodeUid',
      description: 'UID of the Node object.',
      priority: 1,
    },
    {
      name: 'Features',
      type: 'string',
      jsonPath: '.spec.features',
      description: 'Beyond plain VXLAN.',
      priority: 1,
    },
  ],
};

export const ADDRESS_BLOCK: CustomKind = {
  kind: 'AddressBlock',
  plural: 'addressblocks',
  singular: 'addressblock',
  shortNames: ['wb'],
  schema: rootSchema({
    description: 'AddressBlock is a block of pod addresses that one node holds. Creating it is the claim.',
    spec: ADDRESS_BLOCK_SPEC,
    rules: [
      {
        rule: "self.metadata.name == self.spec.cidr.replace('/', '-')",
        message: 'metadata.name must be spec.cidr with "-" for "/"',
      },
    ],
  }),
  columns: [
    { name: 'CIDR', type: 'string', jsonPath: '.spec.cidr', description: 'The block.' },
    { name: 'Node', type: 'string', jsonPath: '.spec.node', description: 'The node that holds it.' },
    AGE,
  ],
};

export const CUSTOM_KINDS: readonly CustomKind[] = [PEER, ADDRESS_BLOCK];
