import t from 'tap'
import {
  ChatCompletion,
  ChatCompletionChunk,
  Completion,
  CompletionChunk,
  ErrorResponseWire,
  ModelList,
} from '../../../server/schemas/responses.js'
import { postChat, postCompletion, startApp } from '../app-under-test.js'

function chunksOf(text: unknown): unknown[] {
  return String(text)
    .split('\n\n')
    .filter((event) => event.startsWith('data: {'))
    .map((event) => JSON.parse(event.slice('data: '.length)))
}

t.test('what is sent is what is described', async (t) => {
  const { app } = await startApp(t)
  t.ok(ChatCompletion.parse((await postChat(app)).body))
  t.ok(Completion.parse((await postCompletion(app)).body))
  t.ok(ChatCompletion.parse((await postChat(app, { n: 3 })).body))
  t.ok(Completion.parse((await postCompletion(app, { n: 3 })).body))
  t.ok(ErrorResponseWire.parse((await postChat(app, { n: 0 })).body))
  t.ok(ModelList.parse((await app.inject('/v1/models')).json()))
  for (const stream_options of [undefined, { include_usage: true }]) {
    const chat = chunksOf((await postChat(app, { stream: true, stream_options })).body.text)
    for (const chunk of chat) t.ok(ChatCompletionChunk.parse(chunk))
    const text = chunksOf((await postCompletion(app, { stream: true, stream_options })).body.text)
    for (const chunk of text) t.ok(CompletionChunk.parse(chunk))
    t.strictSame([chat.length, text.length], stream_options ? [5, 4] : [4, 3])
    const three = { stream: true, stream_options, n: 3 }
    for (const chunk of chunksOf((await postChat(app, three)).body.text)) {
      t.ok(ChatCompletionChunk.parse(chunk))
    }
    for (const chunk of chunksOf((await postCompletion(app, three)).body.text)) {
      t.ok(CompletionChunk.parse(chunk))
    }
  }
})

t.test('a key too many is noticed', async (t) => {
  const { app } = await startApp(t)
  const { body } = await postChat(app)
  t.notOk(ChatCompletion.safeParse({ ...body, extra: 1 }).success)
  t.notOk(ChatCompletion.safeParse({ ...body, usage: undefined }).success)
})
