// `weft status`: is this node well?
import { askAgent } from '../agent-client.ts';
import type { Command } from '../command.ts';

export const statusCommand: Command = {
  name: 'status',
  usage: '',
  summary: 'this node, its peers, blocks and attachments in one screen',
  help: '',
  flags: {},
  async run({ env, stdout }) {
    stdout.write(await askAgent(env, '/status'));
    return 0;
  },
};
