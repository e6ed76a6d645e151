import t from 'tap'
import { chatFields, completionFields } from '../../../server/schemas/fields.js'
import { extensionFields, sharedFields } from '../../../server/schemas/fields-shared.js'

t.test('shared fields and extensions are in both tables, unchanged', async (t) => {
  for (const [path, field] of Object.entries({ ...sharedFields, ...extensionFields })) {
    t.equal(chatFields.get(path), field, path)
    t.equal(completionFields.get(path), field, path)
  }
})

t.test('notes are sentences, or hints would not read as such', async (t) => {
  for (const fields of [chatFields, completionFields]) {
    for (const [path, { note }] of fields) t.match(note, /^[A-Za-z0-9\-/][^|\n]*\.$/, path)
  }
})
