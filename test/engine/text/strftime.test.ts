import t from 'tap'
import { formatTime } from '../../../engine/text/strftime.js'

t.test('directives of Python', async (t) => {
  const time = new Date(2026, 0, 5, 7, 8, 9)
  t.equal(formatTime(time, '%d %b %Y'), '05 Jan 2026')
  t.equal(formatTime(time, '%A, %B %d, %y'), 'Monday, January 05, 26')
  t.equal(formatTime(time, '%a %H:%M:%S 100%%'), 'Mon 07:08:09 100%')
  t.equal(formatTime(time, '%m-%q'), '01-%q', 'unknown ones stay')
})
