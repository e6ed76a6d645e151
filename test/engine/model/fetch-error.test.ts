import t from 'tap'
import { ModelFetchError, storageFailure } from '../../../engine/model/fetch-error.js'

t.test('a full disk and a forbidden folder become advice', async (t) => {
  for (const [code, message] of [
    ['ENOSPC', /The disk is full at \/models. Set HF_HOME/],
    ['EDQUOT', /The disk is full/],
    ['EACCES', /may not write \/models. Set HF_HOME/],
    ['EROFS', /may not write/],
    ['ENOTDIR', /a file is in the way of a folder/],
  ] as const) {
    const failure = storageFailure(Object.assign(new Error(code), { code }), '/models')
    t.ok(failure instanceof ModelFetchError && failure.kind === 'disk', code)
    t.match((failure as Error).message, message)
  }
})

t.test('any other error stays what it is', async (t) => {
  const error = new Error('other')
  t.equal(storageFailure(error, '/models'), error)
  t.equal(storageFailure(undefined, '/models'), undefined)
})
