import t from 'tap'
import { commands, serveCommand } from '../../server/commands.js'
import { bytes, duration, integer, list, toggle } from '../../server/flag.js'
import { commandHelp, generalHelp, showDefault } from '../../server/help.js'

t.test('the first help names every command and the exit codes', async (t) => {
  const text = generalHelp(commands)
  for (const { name, summary } of commands)
    t.match(text, new RegExp(`^ {2}${name} +${summary}$`, 'm'))
  t.match(text, /^Exit codes: /m)
})

t.test("a command's help: usage, flags with defaults, examples, variables", async (t) => {
  const text = commandHelp(serveCommand)
  t.match(text, 'Usage: kvasir serve [flags]')
  t.match(text, '  --port N\n      Port to listen on; 0 for any free one. [8000]\n')
  t.match(text, '  --drain-timeout TIME\n')
  t.match(text, '[30s]')
  t.match(text, '  --offline\n')
  t.match(text, '--host is KVASIR_HOST')
  t.match(text, '  kvasir serve --model ')
})

t.test('defaults as they would be typed', async (t) => {
  t.equal(showDefault(duration(30_000, '')), '30s')
  t.equal(showDefault(integer(5, { min: 0, max: 9 }, '')), '5')
  t.equal(showDefault(bytes('')), '')
  t.equal(showDefault(toggle('')), '')
  t.equal(showDefault(list('X', '')), '')
})
