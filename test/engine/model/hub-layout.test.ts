import t from 'tap'
import { PLAIN_FILE_NAME } from '../../../engine/model/hub-layout.js'

t.test('a plain name is a name in the folder and nothing else', async (t) => {
  for (const name of ['model-00001-of-00002.safetensors', '.hidden', 'a..b', '...', 'A_1.json']) {
    t.match(name, PLAIN_FILE_NAME)
  }
  for (const name of [
    '',
    '.',
    '..',
    'a/b',
    '../a',
    '/a',
    'a\\b',
    'a b',
    'a\0',
    'ä',
    'a\n',
    'C:a',
  ]) {
    t.notMatch(name, PLAIN_FILE_NAME, JSON.stringify(name))
  }
})
