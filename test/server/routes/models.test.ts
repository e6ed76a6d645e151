import t from 'tap'
import { defaultAppConfig } from '../../../server/route-config.js'
import { requireServedModel } from '../../../server/routes/models.js'
import { postChat, startApp } from '../app-under-test.js'
import { EngineDouble } from '../engine-double.js'

const described = {
  object: 'model',
  created: 1_700_000_000,
  owned_by: 'kvasir',
  max_model_len: 128,
  root: 'tiny',
  parent: null,
}

t.test('the list, with aliases', async (t) => {
  const { app } = await startApp(t, { modelAliases: ['gpt-x', 'tiny'] })
  t.strictSame((await app.inject('/v1/models')).json(), {
    object: 'list',
    data: [
      { id: 'tiny', ...described },
      { id: 'gpt-x', ...described },
    ],
  })
})

t.test('one model; ids contain slashes', async (t) => {
  const { app, engine } = await startApp(t)
  engine.model = { ...engine.model, id: 'owner/name:file v1.gguf' }
  for (const id of ['owner/name:file%20v1.gguf', 'owner%2Fname%3Afile%20v1.gguf']) {
    const response = await app.inject(`/v1/models/${id}`)
    t.equal(response.statusCode, 200, id)
    t.match(response.json(), { id: 'owner/name:file v1.gguf', parent: null })
  }
  for (const id of ['other', '', 'owner', 'owner/', 'x'.repeat(2000), '..%2f..%2fetc']) {
    const response = await app.inject(`/v1/models/${id}`)
    t.equal(response.statusCode, 404, id.slice(0, 20))
    t.match(response.json(), { error: { type: 'not_found_error', message: /.{10}/ } })
    t.ok(response.body.length < 400)
  }
})

t.test('requests for another model', async (t) => {
  const { app, engine } = await startApp(t, { modelAliases: ['alias'] })
  const answer = await postChat(app, { model: 'gpt-4' })
  t.match(answer, {
    status: 404,
    body: {
      error: {
        message: `The model "gpt-4" is not served here. Ask for 'tiny' or 'alias'.`,
        type: 'not_found_error',
        param: 'model',
        code: 'model_not_found',
      },
    },
  })
  t.equal(engine.requests.length, 0)
  for (const model of ['tiny', 'alias', null]) {
    t.match(await postChat(app, { model }), { status: 200, body: { model: 'tiny' } })
  }
  const open = await startApp(t, { modelCheck: 'any' })
  t.match(await postChat(open.app, { model: 'gpt-4' }), { status: 200, body: { model: 'tiny' } })
})

t.test('the check alone', async (t) => {
  const { model } = new EngineDouble()
  requireServedModel(undefined, model, defaultAppConfig)
  requireServedModel('tiny', model, defaultAppConfig)
  t.throws(() => requireServedModel('Tiny', model, defaultAppConfig), { code: 'model_not_found' })
})
