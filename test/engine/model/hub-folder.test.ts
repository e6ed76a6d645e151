import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { readHubText, readHubWeights } from '../../../engine/model/hub-folder.js'
import { ModelFileError } from '../../../engine/model/model-description.js'
import { ModelFolder } from '../../../engine/model/model-folder.js'
import { buildSafetensors } from './support/build-safetensors.js'
import {
  tinyConfig,
  tinyFiles,
  tinyTensors,
  tinyTokenizer,
  writeFolder,
} from './support/tiny-models.js'

type Changes = Parameters<typeof tinyFiles>[0]

function folderOf(t: Test, changes: Changes = {}): ModelFolder {
  return new ModelFolder(writeFolder(join(t.testdir(), 'model'), tinyFiles(changes)))
}

/** The tiny model in two files, with an index that a test may spoil. */
function sharded(weightMap?: Record<string, unknown>, inFirst = 5): Changes {
  const tensors = Object.entries(tinyTensors())
  const names = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors']
  const parts = [tensors.slice(0, inFirst), tensors.slice(inFirst)]
  const map = Object.fromEntries(tensors.map(([name], i) => [name, names[i < 5 ? 0 : 1]]))
  return {
    'model.safetensors': null,
    [names[0]!]: buildSafetensors(Object.fromEntries(parts[0]!)),
    [names[1]!]: buildSafetensors(Object.fromEntries(parts[1]!)),
    'model.safetensors.index.json': JSON.stringify({ weight_map: weightMap ?? map }),
  }
}

t.test('one file or several give the same tensors', async (t) => {
  const whole = readHubWeights(folderOf(t))
  const parts = readHubWeights(folderOf(t, sharded()))
  t.equal(whole.files.length, 1)
  t.equal(parts.files.length, 2)
  t.same(
    parts.tensors.map(({ name, shape }) => ({ name, shape })),
    whole.tensors.map(({ name, shape }) => ({ name, shape })),
  )
  t.same([...new Set(parts.tensors.map(({ file }) => file))].sort(), [0, 1])
  t.not(parts.digest, whole.digest)
})

t.test('the digest covers the config and the headers, not the data', async (t) => {
  const { digest } = readHubWeights(folderOf(t))
  t.match(digest, /^[0-9a-f]{64}$/)
  t.equal(readHubWeights(folderOf(t)).digest, digest)
  const config = JSON.stringify({ ...tinyConfig(), max_position_embeddings: 65 })
  t.not(readHubWeights(folderOf(t, { 'config.json': config })).digest, digest)
  const weights = buildSafetensors(tinyTensors(), { format: 'np' })
  t.not(readHubWeights(folderOf(t, { 'model.safetensors': weights })).digest, digest)
})

t.test('an index that lies, or leads elsewhere, is refused (F10)', async (t) => {
  const real = sharded()!['model.safetensors.index.json'] as string
  const map = JSON.parse(real).weight_map as Record<string, string>
  const first = Object.keys(map)[0]!
  const cases: [Changes, RegExp][] = [
    [sharded({ ...map, [first]: '../model-00001-of-00002.safetensors' }), /no plain file name/],
    [sharded({ ...map, [first]: '/etc/passwd.safetensors' }), /no plain file name/],
    [sharded({ ...map, [first]: 'pytorch_model.bin' }), /is a PyTorch pickle/],
    [sharded({ ...map, [first]: 'config.json' }), /no .safetensors file/],
    [sharded({ ...map, [first]: 5 }), /has 5 where a file name belongs/],
    [sharded({ ...map, [first]: 'absent.safetensors' }), /absent.safetensors: is missing/],
    [sharded({ ...map, extra: map[first] }), /lists 12 tensors, the files hold 11/],
    [sharded(map, 6), /is in this file, but model.safetensors.index.json says/],
    [sharded({}), /names 0 files, allowed are 1 to 1024/],
    [{ ...sharded(), 'model.safetensors.index.json': '{}' }, /weight_map: is missing/],
  ]
  for (const [changes, message] of cases) {
    const folder = folderOf(t, changes)
    t.throws(() => readHubWeights(folder), ModelFileError, String(message))
    t.throws(() => readHubWeights(folder), message, String(message))
  }
})

t.test('a FIFO or a folder in the place of the weights is refused', async (t) => {
  const folder = folderOf(t, { 'model.safetensors': null })
  execFileSync('mkfifo', [join(folder.path, 'model.safetensors')])
  t.throws(() => readHubWeights(folder), /not a regular file/)
})

t.test('pickled weights are refused by name, by magic and when renamed (F7)', async (t) => {
  const bin = { 'model.safetensors': null, 'pytorch_model.bin': 'x' }
  t.throws(() => readHubWeights(folderOf(t, bin)), /pytorch_model.bin: is a PyTorch pickle/)
  const renamed = { 'model.safetensors': Buffer.from('PK\x03\x04......', 'latin1') }
  t.throws(() => readHubWeights(folderOf(t, renamed)), /is a zip archive/)
  t.throws(
    () => readHubWeights(folderOf(t, { 'model.safetensors': null })),
    /is missing, and so is/,
  )
  t.throws(() => readHubWeights(folderOf(t, { 'config.json': null })), /config.json: is missing/)
})

t.test('text: template, special tokens, end tokens', async (t) => {
  const { text, generation } = readHubText(folderOf(t), 4)
  t.equal(text.chatTemplate, 'x')
  t.equal(text.eosToken, '<|im_end|>')
  t.equal(text.bosToken, null)
  t.same(generation.eosTokenIds, [3])
  const config = (value: object) => ({ 'tokenizer_config.json': JSON.stringify(value) })
  const read = (changes: Changes) => readHubText(folderOf(t, changes), 4).text
  t.equal(read({ 'chat_template.jinja': 'from the file' }).chatTemplate, 'from the file')
  const named = [
    { name: 'tool_use', template: 'no' },
    { name: 'default', template: 'yes' },
  ]
  t.equal(read(config({ chat_template: named })).chatTemplate, 'yes')
  t.equal(read(config({ bos_token: { content: '<s>' } })).bosToken, '<s>')
  t.equal(read({ 'tokenizer_config.json': null }).chatTemplate, null)
  t.throws(() => read(config({ auto_map: {} })), /names Python code/)
  t.throws(() => read(config({ chat_template: 'x'.repeat(2 ** 20 + 1) })), /the limit is 1048576/)
  t.throws(() => read({ 'chat_template.jinja': 'x'.repeat(2 ** 20 + 1) }), /the limit is 1048576/)
  t.throws(() => read({ 'tokenizer.json': null }), /tokenizer.json: is missing/)
})

t.test('no token may have an id that the logits do not reach', async (t) => {
  const tokenizer = (change: object) => ({
    'tokenizer.json': JSON.stringify({ ...tinyTokenizer(), ...change }),
  })
  const read = (changes: Changes) => () => readHubText(folderOf(t, changes), 4)
  const cases: [Changes, RegExp][] = [
    [
      tokenizer({ model: { vocab: { a: 4 } } }),
      /"a": has id 4, the model's vocabulary goes from 0 to 3/,
    ],
    [tokenizer({ model: { vocab: { a: -1 } } }), /has id -1/],
    [tokenizer({ model: { vocab: { a: '1' } } }), /has id "1"/],
    [tokenizer({ model: { vocab: [] } }), /model.vocab: is not an object/],
    [tokenizer({ added_tokens: [{ id: 9, content: '<x>' }] }), /"<x>": has id 9/],
    [tokenizer({ added_tokens: [{ id: 1 }] }), /is not a token with its content/],
    [tokenizer({ added_tokens: {} }), /expected is a list/],
  ]
  for (const [changes, message] of cases) t.throws(read(changes), message)
})
