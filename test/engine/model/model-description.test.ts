import t from 'tap'
import { ModelFileError } from '../../../engine/model/model-description.js'

t.test('a refusal names the file and the field before the reason', async (t) => {
  const error = new ModelFileError('/models/a.gguf', 'magic', 'is "PK", a GGUF starts with "GGUF"')
  t.equal(error.message, '/models/a.gguf: magic: is "PK", a GGUF starts with "GGUF"')
  t.equal(error.name, 'ModelFileError')
})
