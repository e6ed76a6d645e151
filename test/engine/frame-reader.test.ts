import fc from 'fast-check'
import t from 'tap'
import { FieldWriter, FrameError, maxFrameBytes } from '../../engine/frame-layout.js'
import { FrameReader } from '../../engine/frame-reader.js'

interface Frame {
  readonly type: number
  readonly payload: Buffer
}

const frames = fc.array(
  fc.record({
    type: fc.nat(255),
    payload: fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
  }),
  { maxLength: 8 },
)

t.test('frames survive a cut at every byte', (t) => {
  fc.assert(
    fc.property(frames, (sent) => {
      const stream = toStream(sent)
      for (let cut = 0; cut <= stream.length; cut++) {
        const received = read([stream.subarray(0, cut), stream.subarray(cut)])
        if (!isSame(received, sent)) return false
      }
      return true
    }),
  )
  t.end()
})

t.test('frames survive any chunking', (t) => {
  fc.assert(
    fc.property(frames, fc.array(fc.integer({ min: 1, max: 9 })), (sent, sizes) => {
      const stream = toStream(sent)
      const chunks: Buffer[] = []
      let offset = 0
      for (const size of [...sizes, stream.length]) {
        chunks.push(stream.subarray(offset, offset + size))
        offset += size
      }
      return isSame(read(chunks), sent)
    }),
  )
  t.end()
})

t.test('a partial frame is never delivered', (t) => {
  const received: Frame[] = []
  const reader = new FrameReader((type, payload) => received.push({ type, payload }))
  const frame = new FieldWriter(3, 8).f64(5).finish()
  t.equal(reader.isAtFrameBoundary, true)
  for (const byte of frame.subarray(0, -1)) {
    reader.push(Buffer.of(byte))
    t.equal(received.length, 0)
    t.equal(reader.isAtFrameBoundary, false)
  }
  reader.push(frame.subarray(-1))
  t.equal(received.length, 1)
  t.equal(reader.isAtFrameBoundary, true)
  t.end()
})

t.test('a length over the cap or of nothing is refused before memory is taken', (t) => {
  for (const length of [0, maxFrameBytes + 1, 0xffff_ffff]) {
    const header = Buffer.alloc(5)
    header.writeUInt32LE(length)
    t.throws(() => new FrameReader(() => {}).push(header), FrameError)
  }
  t.end()
})

function toStream(sent: readonly Frame[]): Buffer {
  return Buffer.concat(
    sent.map(({ type, payload }) => new FieldWriter(type, payload.length).bytes(payload).finish()),
  )
}

function read(chunks: readonly Buffer[]): Frame[] {
  const received: Frame[] = []
  const reader = new FrameReader((type, payload) => received.push({ type, payload }))
  for (const chunk of chunks) reader.push(chunk)
  return received
}

function isSame(received: readonly Frame[], sent: readonly Frame[]): boolean {
  return (
    received.length === sent.length &&
    received.every(
      (frame, i) => frame.type === sent[i]!.type && frame.payload.equals(sent[i]!.payload),
    )
  )
}
