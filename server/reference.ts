import { type Command, environmentName, flagName } from './command-line.js'
import { catalogue } from './errors.js'
import { showDefault } from './help.js'
import type { FieldTable } from './schemas/field.js'

/** The tables in docs/ that are written from the code, so that they cannot drift from it. */

export function errorTable(): string {
  const rows = Object.entries(catalogue).map(
    ([code, { status, type, meaning }]) => `| \`${code}\` | ${status} | \`${type}\` | ${meaning} |`,
  )
  return ['| code | status | type | meaning |', '| --- | --- | --- | --- |', ...rows].join('\n')
}

export function fieldTable(fields: FieldTable): string {
  const rows = [...fields].map(([path, { verdict, neutral, note }]) => {
    const accepted = neutral.map((value) => `\`${JSON.stringify(value)}\``).join(', ')
    const exception = accepted === '' ? '' : ` Accepted: ${accepted}.`
    return `| \`${path}\` | ${verdict} | ${note}${exception} |`
  })
  return ['| field | verdict | |', '| --- | --- | --- |', ...rows].join('\n')
}

export function flagReference(command: Command): string {
  const rows = Object.entries(command.flags).map(([name, flag]) => {
    const placeholder =
      flag.placeholder === null ? '' : ` ${flag.placeholder.replaceAll('|', '\\|')}`
    const initial = showDefault(flag)
    return `| \`${flagName(name)}${placeholder}\` | \`${environmentName(name)}\` | ${initial === '' ? '' : `\`${initial}\``} | ${flag.help} |`
  })
  return ['| flag | variable | default | |', '| --- | --- | --- | --- |', ...rows].join('\n')
}

/** Replaces what stands between `<!-- begin NAME -->` and `<!-- end NAME -->`. */
export function replaceSection(document: string, name: string, content: string): string {
  const [begin, end] = [`<!-- begin ${name} -->`, `<!-- end ${name} -->`]
  const from = document.indexOf(begin)
  const to = document.indexOf(end)
  if (from === -1 || to < from) throw new Error(`the document has no section "${name}"`)
  return `${document.slice(0, from + begin.length)}\n${content}\n${document.slice(to)}`
}
