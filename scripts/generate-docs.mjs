/** Writes openapi.yaml and the generated tables in docs/ from the compiled server. */
import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import process from 'node:process'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { stringify } from 'yaml'

process.chdir(resolve(dirname(fileURLToPath(import.meta.url)), '..'))
const compiled = resolve(process.argv[2] ?? 'dist')
const load = (path) => import(pathToFileURL(resolve(compiled, path)).href)

const { buildOpenApi } = await load('server/openapi.js')
const { errorTable, fieldTable, flagReference, replaceSection } = await load('server/reference.js')
const { chatFields, completionFields } = await load('server/schemas/fields.js')
const { commands } = await load('server/commands.js')

const header = '# Made by `node scripts/generate-docs.mjs` from server/schemas; a test compares.\n'
writeFileSync('openapi.yaml', header + stringify(buildOpenApi(), { aliasDuplicateObjects: false }))

function update(path, sections) {
  let document = readFileSync(path, 'utf8')
  for (const [name, content] of Object.entries(sections)) {
    document = replaceSection(document, name, content)
  }
  writeFileSync(path, document)
}

update('docs/errors.md', { errors: errorTable() })
update('docs/compatibility.md', {
  'chat fields': fieldTable(chatFields),
  'completion fields': fieldTable(completionFields),
})
update('docs/configuration.md', {
  ...Object.fromEntries(commands.map((command) => [command.name, flagReference(command)])),
})
