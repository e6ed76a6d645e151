import t from 'tap'
import {
  FieldReader,
  FieldWriter,
  FrameError,
  frameHeaderBytes,
  maxFrameBytes,
} from '../../engine/frame-layout.js'

t.test('fields come back as they went in', (t) => {
  const frame = new FieldWriter(7, 1 + 4 + 8 + 8 + 2)
    .u8(1)
    .u32(0xffff_ffff)
    .f64(-0.1)
    .bytes(Int32Array.of(-1, 2))
    .bytes(Buffer.from('é'))
    .finish()
  t.equal(frame.readUInt32LE(0), frame.length - 4)
  t.equal(frame.readUInt8(4), 7)
  const fields = new FieldReader(frame.subarray(frameHeaderBytes))
  t.equal(fields.flag(), true)
  t.equal(fields.u32(), 0xffff_ffff)
  t.equal(fields.f64(), -0.1)
  t.same(fields.int32s(2), Int32Array.of(-1, 2))
  t.equal(fields.text(), 'é')
  t.doesNotThrow(() => fields.end())
  t.end()
})

t.test('a writer that is given too few or too many fields says so', (t) => {
  t.throws(() => new FieldWriter(1, 8).u32(1).finish(), /frame of 13 bytes has 9 written/)
  t.throws(() => new FieldWriter(1, 4).f64(1), RangeError)
  t.throws(() => new FieldWriter(1, maxFrameBytes), FrameError)
  t.end()
})

t.test('a reader never reads past the end, whatever length it is told', (t) => {
  const payload = Buffer.alloc(12)
  t.throws(() => new FieldReader(payload).int32s(4), FrameError)
  t.throws(() => new FieldReader(payload).float64s(0xffff_ffff), FrameError)
  t.throws(() => new FieldReader(Buffer.alloc(3)).u32(), FrameError)
  const fields = new FieldReader(payload)
  fields.f64()
  t.throws(() => fields.end(), /4 bytes too many/)
  t.end()
})

t.test('integers are whole, not negative and exact', (t) => {
  for (const value of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
    const frame = new FieldWriter(1, 8).f64(value).finish()
    t.throws(() => new FieldReader(frame.subarray(frameHeaderBytes)).integer(), FrameError)
  }
  t.throws(() => new FieldReader(Buffer.of(2)).flag(), FrameError)
  t.end()
})
