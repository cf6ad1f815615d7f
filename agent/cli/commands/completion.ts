// `weft completion`: the words of this program for a shell.
import type { Command } from '../command.ts';
import { COMMANDS } from '../commands.ts';
import { SHELLS, completionScript } from '../completion.ts';
import { wrongUse } from '../flags.ts';

export const completionCommand: Command = {
  name: 'completion',
  usage: SHELLS.join('|'),
  summary: 'a script that lets the shell complete commands, flags and their words',
  help: `Writes a script for the shell that you name; it completes the word "weft", also where that is an alias:

  alias weft='kubectl -n weft exec ds/weft -- weft'
  source <(weft completion bash)      # in ~/.bashrc
  source <(weft completion zsh)       # in ~/.zshrc, after compinit
  weft completion fish | source       # in ~/.config/fish/config.fish
`,
  flags: {},
  words: SHELLS,
  async run({ positionals, stdout }) {
    const [name, unexpected] = positionals;
    const shell = SHELLS.find((known) => known === name);
    if (shell === undefined || unexpected !== undefined) {
      throw wrongUse(
        `Cannot write a completion for "${positionals.join(' ')}": name one of ${SHELLS.join(', ')}`,
      );
    }
    stdout.write(completionScript(shell, await Promise.all(COMMANDS.map((entry) => entry.load()))));
    return 0;
  },
};
