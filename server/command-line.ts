import { parseArgs } from 'node:util'
import type { BarOutput } from '../engine/model/progress-bar.js'
import { BadValue, type Flag, type FlagTable, type FlagValues } from './flag.js'
import { findNearest } from './nearest.js'

/** What a command sees of the process: its streams and its environment. */
export interface Terminal {
  readonly out: BarOutput
  readonly err: BarOutput
  readonly env: Readonly<Record<string, string | undefined>>
}

/** A command and everything the parser and the help know about it. */
export interface Command<F extends FlagTable = FlagTable> {
  readonly name: string
  readonly summary: string
  /** Words before the flags, for example MODEL. */
  readonly positionals: readonly string[]
  readonly flags: F
  readonly examples: readonly string[]
}

export interface CommandLine<F extends FlagTable> {
  readonly flags: FlagValues<F>
  readonly positionals: readonly string[]
  readonly wantsHelp: boolean
}

/** Something the user typed that cannot be meant. Printed without a stack; exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

type Environment = Readonly<Record<string, string | undefined>>

/** Reads a command's words: command line over KVASIR_* over default. Throws UsageError. */
export function readCommandLine<F extends FlagTable>(
  command: Command<F>,
  words: readonly string[],
  env: Environment,
): CommandLine<F> {
  const { given, positionals } = tokenize(command, words)
  const wantsHelp = given.delete('help')
  if (!wantsHelp) requirePositionals(command, positionals)
  const flags = Object.fromEntries(
    Object.entries(command.flags).map(([name, flag]) => [
      name,
      readFlag(name, flag, given.get(name), env),
    ]),
  )
  return { flags: flags as FlagValues<F>, positionals, wantsHelp }
}

/** kvCacheBytes is --kv-cache-bytes. */
export function flagName(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
}

/** kvCacheBytes is KVASIR_KV_CACHE_BYTES. */
export function environmentName(name: string): string {
  return `KVASIR_${name.replace(/[A-Z]/g, '_$&').toUpperCase()}`
}

/** A sentence for each KVASIR_* variable that looks like a misspelt flag; it would do nothing. */
export function doubtfulVariables(flags: FlagTable, env: Environment): readonly string[] {
  const known = Object.keys(flags).map(environmentName)
  return Object.keys(env)
    .filter((name) => name.startsWith('KVASIR_') && !known.includes(name))
    .flatMap((name) => {
      const nearest = findNearest(
        name.slice('KVASIR_'.length),
        known.map((one) => one.slice('KVASIR_'.length)),
      )
      return nearest === undefined
        ? []
        : [`${name} is not a setting; did you mean KVASIR_${nearest}?`]
    })
}

function readFlag(
  name: string,
  flag: Flag<unknown>,
  given: string | undefined,
  env: Environment,
): unknown {
  const variable = environmentName(name)
  const fromEnv = env[variable] === '' ? undefined : env[variable]
  const value = given ?? fromEnv
  if (value === undefined) return flag.default
  try {
    return flag.parse(value)
  } catch (error) {
    if (!(error instanceof BadValue)) throw error
    const source = given === undefined ? `${variable}=` : `${flagName(name)} `
    throw new UsageError(`${source}${value}: ${error.message}`)
  }
}

interface Tokens {
  /** Raw values by flag; a switch has "true". */
  readonly given: Map<string, string>
  readonly positionals: readonly string[]
}

function tokenize(command: Command, words: readonly string[]): Tokens {
  const names = new Map(Object.keys(command.flags).map((name) => [flagName(name), name]))
  const options = Object.fromEntries(
    Object.entries(command.flags).map(([name, flag]) => [
      flagName(name).slice(2),
      { type: flag.placeholder === null ? ('boolean' as const) : ('string' as const) },
    ]),
  )
  const { tokens } = parseArgs({
    args: [...words],
    options: { ...options, help: { type: 'boolean', short: 'h' } },
    strict: false,
    allowPositionals: true,
    tokens: true,
  })
  const given = new Map<string, string>()
  const positionals: string[] = []
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value)
    if (token.kind !== 'option') continue
    if (token.name === 'help') given.set('help', 'true')
    else {
      const name = names.get(token.rawName) ?? refuseUnknown(token.rawName, [...names.keys()])
      given.set(name, optionValue(command.flags[name]!, token))
    }
  }
  return { given, positionals }
}

function optionValue(
  flag: Flag<unknown>,
  token: {
    readonly rawName: string
    readonly value?: string | undefined
    readonly inlineValue?: boolean | undefined
  },
): string {
  if (flag.placeholder === null) return token.value ?? 'true'
  // "--port --host x" is a forgotten value, not a port of that name.
  const isForgotten = token.inlineValue !== true && token.value?.startsWith('--')
  if (token.value === undefined || isForgotten) {
    throw new UsageError(`${token.rawName} needs a value: ${token.rawName} ${flag.placeholder}`)
  }
  return token.value
}

function refuseUnknown(rawName: string, known: readonly string[]): never {
  const nearest = findNearest(rawName, [...known, '--help'])
  const hint = nearest === undefined ? '' : ` Did you mean ${nearest}?`
  throw new UsageError(`There is no flag ${rawName}.${hint}`)
}

function requirePositionals(command: Command, positionals: readonly string[]): void {
  const missing = command.positionals[positionals.length]
  if (missing !== undefined) throw new UsageError(`${missing} is missing: ${usageLine(command)}`)
  const extra = positionals[command.positionals.length]
  if (extra !== undefined) {
    throw new UsageError(`"${extra}" is one word too many: ${usageLine(command)}`)
  }
}

export function usageLine(command: Command): string {
  const flags = Object.keys(command.flags).length > 0 ? ['[flags]'] : []
  return ['kvasir', command.name, ...command.positionals, ...flags].join(' ')
}
