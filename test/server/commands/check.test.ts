import t from 'tap'
import { check } from '../../../server/commands/check.js'

async function run(model: string) {
  let out = ''
  const code = await check(model, true, {
    out: { write: (text) => (out += text) },
    err: { write: () => {} },
    env: {},
  })
  return { code, out }
}

t.test('a model that can be served', async (t) => {
  for (const model of ['llama-tiny/f32', 'qwen3-tiny/qwen3-tiny-q8_0.gguf']) {
    const { code, out } = await run(`test/fixtures/models/${model}`)
    t.equal(code, 0, model)
    t.match(out, /This model can be served\.\n$/)
    t.match(out, /architecture +(llama|qwen3)/)
  }
})

t.test('one that cannot', async (t) => {
  const { code, out } = await run('package.json')
  t.equal(code, 1)
  t.match(out, /refused .*package\.json[\s\S]*This model cannot be served\.\n$/)
})
