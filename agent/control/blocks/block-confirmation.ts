// Asks the API for a block that a list shows as this node's. A list may come from a server that is behind, so it proves nothing about a block
// that was lost meanwhile; what is read by its name is the newest state. Done once for each block after a start, and after the Node was made anew.
import type { AddressBlock } from '../../../proto/api-kinds.ts';
import type { ClusterApi } from '../../kube/api-client.ts';
import { codeOf } from '../../operation-error.ts';
import type { Logger } from '../../telemetry/logger.ts';
import { type NodeIdentity, type OwnBlock, type OwnBlocks, blockObject, isHeldBy } from './own-blocks.ts';

export interface BlockConfirmationOptions {
  readonly node: NodeIdentity;
  readonly own: Pick<OwnBlocks, 'settledOrder'>;
  readonly api: Pick<ClusterApi, 'getBlock' | 'replaceBlock'>;
  readonly log: Pick<Logger, 'info'>;
}

export class BlockConfirmation {
  readonly #options: BlockConfirmationOptions;

  constructor(options: BlockConfirmationOptions) {
    this.#options = options;
  }

  /** False: it is not ours any more, or was changed meanwhile; the view will show it. Throws OperationError when the API does not tell. */
  async ask(block: OwnBlock): Promise<boolean> {
    block.unanswered = true;
    block.confirmed = await this.#isOurs(block);
    block.unanswered = false;
    return block.confirmed;
  }

  async #isOurs(block: OwnBlock): Promise<boolean> {
    const { api, node, log } = this.#options;
    try {
      const present = await api.getBlock(block.name);
      if (!isHeldBy(node, present)) return false;
      if (present.spec.nodeUid !== node.uid) {
        // Of the Node's earlier life: who wants to take it back finds it changed from here on.
        await api.replaceBlock(this.#renewed(block, present));
        log.info('block_confirmed', `Block ${block.name} is held under the Node's new identity`, {
          block: block.name,
        });
      }
    } catch (error) {
      const code = codeOf(error);
      if (code === 'CONFLICT' || code === 'NOT_FOUND') return false;
      throw error;
    }
    return true;
  }

  #renewed(block: OwnBlock, { metadata }: AddressBlock): AddressBlock {
    const { node, own } = this.#options;
    block.order = own.settledOrder(block);
    const wanted = blockObject(block, node);
    return {
      ...wanted,
      metadata: { ...metadata, annotations: { ...metadata.annotations, ...wanted.metadata.annotations } },
    };
  }
}
