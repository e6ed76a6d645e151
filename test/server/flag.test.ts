import t, { type Test } from 'tap'
import {
  BadValue,
  bytes,
  choice,
  duration,
  type Flag,
  fraction,
  integer,
  list,
  text,
  toggle,
} from '../../server/flag.js'

function check<T>(
  flag: Flag<T>,
  good: readonly (readonly [string, T])[],
  bad: readonly (readonly [string, RegExp])[],
) {
  return async (t: Test) => {
    for (const [given, value] of good) t.strictSame(flag.parse(given), value, given)
    for (const [given, reason] of bad) {
      t.throws(() => flag.parse(given), { message: reason }, JSON.stringify(given))
      t.throws(() => flag.parse(given), BadValue)
    }
  }
}

t.test('text', check(text('X', undefined, ''), [['a b', 'a b']], [['', /empty/]]))

t.test(
  'lists',
  check(
    list('X', ''),
    [
      ['a', ['a']],
      ['a, b', ['a', 'b']],
    ],
    [
      ['', /empty entry/],
      ['a,', /empty entry/],
    ],
  ),
)

t.test(
  'shares',
  check(
    fraction(0.9, ''),
    [
      ['0.9', 0.9],
      ['.5', 0.5],
      ['1', 1],
    ],
    [
      ['0', /above 0/],
      ['1.1', /at most 1/],
      ['90%', /such as 0.9/],
    ],
  ),
)

t.test(
  'integers',
  check(
    integer(1, { min: 1, max: 10 }, ''),
    [
      ['1', 1],
      ['10', 10],
      ['007', 7],
    ],
    ['0', '11', '-1', '1.5', '1e1', 'abc', '', '0x5', '9'.repeat(400)].map(
      (given) => [given, /from 1 to 10/] as const,
    ),
  ),
)

t.test(
  'choices',
  check(
    choice('float16', ['float16', 'float32'], ''),
    [['float32', 'float32']],
    [
      ['float61', /did you mean float16\?/],
      ['Float16', /did you mean float16\?/],
      ['nothing at all', /expected float16, float32$/],
    ],
  ),
)

t.test(
  'switches',
  check(
    toggle(''),
    [
      ['true', true],
      ['YES', true],
      ['1', true],
      ['off', false],
      ['0', false],
    ],
    [
      ['maybe', /expected 1 or 0/],
      ['', /expected 1 or 0/],
    ],
  ),
)

t.test(
  'sizes',
  check(
    bytes(''),
    [
      ['1048576', 1048576],
      ['512MiB', 512 * 2 ** 20],
      ['512mib', 512 * 2 ** 20],
      ['2GB', 2e9],
      ['1.5 GiB', 1.5 * 2 ** 30],
      ['64KB', 64_000],
      ['7B', 7],
    ],
    ['', '0', '-1', 'MiB', '5XB', '1e9', '5 5', '0.1', '99999999TB', '5constructor'].map(
      (given) => [given, /such as 512MiB/] as const,
    ),
  ),
)

t.test(
  'times',
  check(
    duration(0, ''),
    [
      ['30s', 30_000],
      ['500ms', 500],
      ['2m', 120_000],
      ['1.5s', 1500],
      ['0s', 0],
      ['1h', 3_600_000],
    ],
    [
      ['30', /did you mean 30s\?/],
      ['', /such as 30s/],
      ['s', /such as 30s/],
      ['-1s', /such as 30s/],
      ['9999h', /such as 30s/],
    ],
  ),
)
