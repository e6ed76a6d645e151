import t from 'tap'
import { integer, toggle } from '../../server/flag.js'
import { errorTable, fieldTable, flagReference, replaceSection } from '../../server/reference.js'
import { ignored, refused } from '../../server/schemas/field.js'

t.test('tables have a row for each entry and cells that hold', async (t) => {
  t.equal(
    fieldTable(new Map(Object.entries({ a: ignored('No.'), 'b[].c': refused('Not.', 1, []) }))),
    [
      '| field | verdict | |',
      '| --- | --- | --- |',
      '| `a` | ignored | No. |',
      '| `b[].c` | refused | Not. Accepted: `1`, `[]`. |',
    ].join('\n'),
  )
  const flags = { kvBytes: integer(5, { min: 0, max: 9 }, 'How many.'), quick: toggle('Be quick.') }
  const command = { name: 'x', summary: '', positionals: [], flags, examples: [] }
  t.equal(
    flagReference(command).split('\n').slice(2).join('\n'),
    '| `--kv-bytes N` | `KVASIR_KV_BYTES` | `5` | How many. |\n| `--quick` | `KVASIR_QUICK` |  | Be quick. |',
  )
  for (const line of errorTable().split('\n')) t.equal(line.match(/\|/g)?.length, 5, line)
})

t.test('a section is replaced between its marks', async (t) => {
  const page = '# T\n<!-- begin a -->\nold\n<!-- end a -->\nrest\n'
  const updated = replaceSection(page, 'a', 'new')
  t.equal(updated, '# T\n<!-- begin a -->\nnew\n<!-- end a -->\nrest\n')
  t.equal(replaceSection(updated, 'a', 'new'), updated)
  t.throws(() => replaceSection(page, 'b', 'new'), { message: /no section "b"/ })
})
