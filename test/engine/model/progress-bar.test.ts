import t from 'tap'
import { formatBytes, ProgressBar } from '../../../engine/model/progress-bar.js'

function barOn(isTTY: boolean, columns = 80) {
  let time = 0
  const written: string[] = []
  const bar = new ProgressBar({ isTTY, columns, write: (text) => written.push(text) }, () => time)
  const update = (numBytesDone: number, passMs = 1000, file = 'a.gguf') => {
    time += passMs
    bar.update({ file, numBytesDone, numBytes: 100_000_000 })
  }
  return { bar, written, update }
}

t.test('on a terminal: one line that redraws itself', async (t) => {
  const { written, update } = barOn(true)
  update(0)
  update(25_000_000)
  t.equal(written.length, 2)
  t.equal(
    written[1],
    '\r\x1b[K[######..................]  25% a.gguf 25.0 MB of 100 MB, 25.0 MB/s, 3 s left',
  )
  update(25_000_001, 10)
  t.equal(written.length, 2, 'not oftener than every 100 ms')
  update(100_000_000, 10)
  t.match(written[2], /100% a.gguf/)
  t.equal(written[3], '\n')
  update(100_000_000)
  t.equal(written.length, 4, 'done is said once')
})

t.test('a line never fills the terminal, and other output starts on its own line', async (t) => {
  const { bar, written, update } = barOn(true, 30)
  update(10)
  t.ok(written[0]!.replace('\r\x1b[K', '').length < 30)
  bar.finish()
  t.equal(written.at(-1), '\n')
  bar.finish()
  t.equal(written.length, 2)
})

t.test('without a terminal: a line every ten percent, without control characters', async (t) => {
  const { written, update } = barOn(false)
  for (let percent = 0; percent <= 100; percent++) update(percent * 1_000_000, 100)
  t.equal(written.length, 11)
  t.ok(written.every((line) => line.endsWith('\n') && !line.includes('\r')))
  t.notOk(written.some((line) => line.includes('\x1b')))
  t.match(written[0], /^ {2}0% a.gguf/)
  t.match(written.at(-1), /^100% a.gguf/)
  update(0, 100, 'b.gguf')
  t.match(written.at(-1), /0% b.gguf/)
})

t.test('bytes in words', async (t) => {
  for (const [numBytes, words] of [
    [0, '0 B'],
    [999, '999 B'],
    [1000, '1.00 kB'],
    [98_362_432, '98.4 MB'],
    [999_600_000, '1.00 GB'],
    [2.5e12, '2.50 TB'],
  ] as const) {
    t.equal(formatBytes(numBytes), words)
  }
})
