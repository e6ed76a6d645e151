import { EngineError } from '../engine/errors.js'
import { ModelFetchError } from '../engine/model/fetch-error.js'
import { ModelFileError } from '../engine/model/model-description.js'
import {
  type Command,
  type CommandLine,
  doubtfulVariables,
  readCommandLine,
  type Terminal,
  UsageError,
} from './command-line.js'
import { check } from './commands/check.js'
import { doctor } from './commands/doctor.js'
import { pull } from './commands/pull.js'
import { serve } from './commands/serve.js'
import { checkCommand, commands, doctorCommand, pullCommand, serveCommand } from './commands.js'
import type { FlagTable } from './flag.js'
import { commandHelp, generalHelp } from './help.js'
import { ListenError } from './listen.js'
import { findNearest } from './nearest.js'
import { version } from './version.js'

/** How a command line ended: an exit code, or a server that goes on. */
export type Outcome = number | 'serving'

/** Runs `kvasir WORDS`. Errors of the user are one message on standard error, without a stack. */
export async function runCli(words: readonly string[], terminal: Terminal): Promise<Outcome> {
  try {
    return await dispatch(words, terminal)
  } catch (error) {
    terminal.err.write(`kvasir: ${describeError(error)}\n`)
    return error instanceof UsageError ? 2 : 1
  }
}

async function dispatch(words: readonly string[], terminal: Terminal): Promise<Outcome> {
  const [name = 'help', ...rest] = words
  switch (name) {
    case 'help':
    case '--help':
    case '-h':
      terminal.out.write(generalHelp(commands))
      return 0
    case '--version':
    case '-v':
      terminal.out.write(`${version}\n`)
      return 0
    case 'serve': {
      const line = read(serveCommand, rest, terminal)
      if (line === undefined) return 0
      await serve(line.flags, terminal)
      return 'serving'
    }
    case 'pull': {
      const line = read(pullCommand, rest, terminal)
      return line === undefined ? 0 : pull(line.positionals[0]!, line.flags.offline, terminal)
    }
    case 'check': {
      const line = read(checkCommand, rest, terminal)
      return line === undefined ? 0 : check(line.positionals[0]!, line.flags.offline, terminal)
    }
    case 'doctor': {
      const line = read(doctorCommand, rest, terminal)
      return line === undefined ? 0 : doctor(line.flags.device, terminal)
    }
    default:
      throw unknownCommand(name)
  }
}

/** The command's words, or undefined when they asked for help, which is then printed. */
function read<F extends FlagTable>(
  command: Command<F>,
  words: readonly string[],
  terminal: Terminal,
): CommandLine<F> | undefined {
  const line = readCommandLine(command, words, terminal.env)
  if (line.wantsHelp) {
    terminal.out.write(commandHelp(command))
    return undefined
  }
  for (const doubt of doubtfulVariables(serveCommand.flags, terminal.env)) {
    terminal.err.write(`kvasir: ${doubt}\n`)
  }
  return line
}

function unknownCommand(name: string): UsageError {
  if (name.startsWith('-')) {
    return new UsageError(`Flags come after a command, for example: kvasir serve ${name}`)
  }
  const names = commands.map((command) => command.name)
  const nearest = findNearest(name, names)
  const hint = nearest === undefined ? `There are ${names.join(', ')}.` : `Did you mean ${nearest}?`
  return new UsageError(`There is no command "${name}". ${hint}`)
}

const userErrors = [UsageError, ListenError, ModelFetchError, ModelFileError, EngineError]

function describeError(error: unknown): string {
  if (userErrors.some((kind) => error instanceof kind)) return (error as Error).message
  const stack = error instanceof Error ? error.stack : undefined
  return `This should not have happened. Please report it:\n${stack ?? error}`
}
