// Scripts that let a shell complete the words of `weft`, made of the table of commands. Pure.
import type { Command, Flag } from './command.ts';
import { HELP } from './flags.ts';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

export function completionScript(shell: Shell, commands: readonly Command[]): string {
  switch (shell) {
    case 'bash':
      return bashScript(commands);
    case 'zsh':
      return zshScript(commands);
    case 'fish':
      return fishScript(commands);
    default:
      return shell satisfies never;
  }
}

const flagsOf = ({ flags }: Command): readonly (readonly [string, Flag])[] =>
  Object.entries({ ...flags, help: HELP });

const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

function bashScript(commands: readonly Command[]): string {
  const names = commands.map(({ name }) => name).join(' ');
  const cases = commands.map((command) => {
    const flags = flagsOf(command);
    const values = flags
      .filter(([, { type }]) => type === 'string')
      .map(
        ([name, flag]) =>
          `      ${bashPattern(name, flag)}) words=${quoted((flag.words ?? []).join(' '))} ;;\n`,
      );
    const all = quoted(flags.map(([name]) => `--${name}`).join(' '));
    return `    ${command.name}) case $prev:$given:$cur in
${values.join('')}      *:*:-*) words=${all} ;;
      *) words=${quoted((command.words ?? []).join(' '))} ;;
    esac ;;
`;
  });
  return `# Completion of weft for bash: source <(weft completion bash)
_weft() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD - 1]} given='' command='' words='' at
  # bash takes "--flag=value" for three words.
  if [ "$cur" = '=' ]; then cur='' given='='
  elif [ "$prev" = '=' ]; then prev=\${COMP_WORDS[COMP_CWORD - 2]} given='='; fi
  for ((at = 1; at < COMP_CWORD; at++)); do
    case \${COMP_WORDS[at]} in -* | =) ;; *) command=\${COMP_WORDS[at]}; break ;; esac
  done
  case $command in
    '') words=${quoted(`${names} help --help --version`)} ;;
    help) words=${quoted(names)} ;;
${cases.join('')}  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -F _weft weft
`;
}

/** Where the value of a flag stands: after it, but for one with an implied value, which takes another only behind "=". */
function bashPattern(name: string, { short, implied }: Flag): string {
  if (implied !== undefined) return `--${name}:=:*`;
  return `${short === undefined ? '' : `-${short}:*:* | `}--${name}:*:*`;
}

function zshScript(commands: readonly Command[]): string {
  const bracketed = (text: string): string => text.replaceAll(/[[\]:]/g, '\\$&');
  const specOf = ([name, { type, short, meaning = '', value, words, implied }]: readonly [
    string,
    Flag,
  ]): string => {
    const action =
      type === 'boolean' ? '' : `:${value ?? name}:${words === undefined ? '' : `(${words.join(' ')})`}`;
    const told = `[${bracketed(meaning)}]${implied === undefined ? action : action.replace(':', '::')}`;
    const long = `--${name}${type === 'boolean' ? '' : implied === undefined ? '=' : '=-'}`;
    const forms = short === undefined ? [long] : [`-${short}`, long];
    return forms
      .map((form) =>
        quoted(
          form === `-${short}` && implied !== undefined ? `${form}[${bracketed(meaning)}]` : form + told,
        ),
      )
      .join(' ');
  };
  const cases = commands.map((command) => {
    const words = command.words === undefined ? [] : [quoted(`*:argument:(${command.words.join(' ')})`)];
    return `    ${command.name}) _arguments ${[...flagsOf(command).map(specOf), ...words].join(' ')} ;;\n`;
  });
  const described = commands.map(({ name, summary }) => `    ${quoted(`${name}:${summary}`)}\n`);
  return `#compdef weft
# Completion of weft for zsh: source <(weft completion zsh)
_weft() {
  local -a commands=(
${described.join('')}  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
    help) _describe command commands ;;
${cases.join('')}  esac
}
compdef _weft weft
`;
}

function fishScript(commands: readonly Command[]): string {
  const lines = commands.flatMap((command) => {
    const seen = `-n ${quoted(`__fish_seen_subcommand_from ${command.name}`)}`;
    const words =
      command.words === undefined ? [] : [`complete -c weft ${seen} -a ${quoted(command.words.join(' '))}`];
    return [
      `complete -c weft -n __fish_use_subcommand -a ${command.name} -d ${quoted(command.summary)}`,
      ...words,
      ...flagsOf(command).map(([name, { type, short, meaning, words: values, implied }]) =>
        [
          `complete -c weft ${seen} -l ${name}`,
          ...(short === undefined ? [] : [`-s ${short}`]),
          ...(type === 'boolean' || implied !== undefined ? [] : ['-x']),
          ...(values === undefined ? [] : [`-a ${quoted(values.join(' '))}`]),
          ...(meaning === undefined ? [] : [`-d ${quoted(meaning)}`]),
        ].join(' '),
      ),
    ];
  });
  return `# Completion of weft for fish: weft completion fish | source\ncomplete -c weft -f\n${lines.join('\n')}\n`;
}
