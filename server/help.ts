import { type Command, environmentName, flagName, usageLine } from './command-line.js'
import type { Flag } from './flag.js'
import { version } from './version.js'

/** `kvasir --help`. */
export function generalHelp(commands: readonly Command[]): string {
  return [
    `Kvasir ${version}: an OpenAI-compatible server for language models.`,
    '',
    'Usage: kvasir COMMAND [flags]',
    '',
    ...commands.map(({ name, summary }) => `  ${name.padEnd(8)}${summary}`),
    '',
    '`kvasir COMMAND --help` lists the flags of a command.',
    'Exit codes: 0 done, 1 it did not work, 2 it was not understood.',
    '',
  ].join('\n')
}

/** `kvasir COMMAND --help`, from the same table that parses. */
export function commandHelp(command: Command): string {
  const rows = Object.entries(command.flags).map(([name, flag]) => describe(name, flag))
  return [
    command.summary,
    '',
    `Usage: ${usageLine(command)}`,
    '',
    ...rows,
    '  --help',
    '      Print this.',
    '',
    ...examples(command),
    `Every flag is also a variable: ${exampleVariable(command)}. The command line wins.`,
    '',
  ].join('\n')
}

function describe(name: string, flag: Flag<unknown>): string {
  const placeholder = flag.placeholder === null ? '' : ` ${flag.placeholder}`
  const initial = showDefault(flag)
  const suffix = initial === '' ? '' : ` [${initial}]`
  return `  ${flagName(name)}${placeholder}\n      ${flag.help}${suffix}`
}

/** The default as it would be typed; empty where the help describes it. */
export function showDefault(flag: Flag<unknown>): string {
  const { default: initial, placeholder } = flag
  if (placeholder === 'TIME') return `${Number(initial) / 1000}s`
  if (initial === undefined || initial === false || Array.isArray(initial)) return ''
  return String(initial)
}

function examples({ examples: lines }: Command): readonly string[] {
  return ['Examples:', ...lines.map((line) => `  ${line}`), '']
}

function exampleVariable({ flags }: Command): string {
  const [name] = Object.keys(flags)
  return name === undefined ? 'none here' : `${flagName(name)} is ${environmentName(name)}`
}
