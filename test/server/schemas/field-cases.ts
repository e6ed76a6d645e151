import type { ErrorCode } from '../../../server/errors.js'

/** One value of each JSON type; a field must refuse those it does not name as allowed. */
const samples: Readonly<Record<string, unknown>> = {
  string: 'x',
  number: 1,
  boolean: true,
  array: [],
  object: {},
}

export interface FieldCases {
  readonly field: string
  readonly types: readonly string[]
  /** Values at the limits, all accepted. */
  readonly accepted: readonly unknown[]
  /** Value, code, and what follows the field's name in param. */
  readonly refused: readonly (readonly [unknown, ErrorCode, string?])[]
}

export function wrongTypes({ types }: FieldCases): readonly (readonly [string, unknown])[] {
  return Object.entries(samples).filter(([type]) => !types.includes(type))
}

const infinite = Symbol('1e999')

/** Fields that both endpoints share. */
export const samplingCases: readonly FieldCases[] = [
  {
    field: 'model',
    types: ['string'],
    accepted: ['tiny'],
    refused: [
      ['other', 'model_not_found'],
      ['', 'model_not_found'],
      ['x'.repeat(300), 'invalid_value'],
    ],
  },
  numeric('temperature', [0, 0.000001, 1, 2], [-0.001, 2.001]),
  numeric('top_p', [0, 0.5, 1], [-0.001, 1.001]),
  numeric('min_p', [0, 0.5, 1], [-0.001, 1.001]),
  numeric('frequency_penalty', [-2, 0, 2], [-2.001, 2.001]),
  numeric('presence_penalty', [-2, 0, 2], [-2.001, 2.001]),
  numeric('repetition_penalty', [0.01, 1, 100], [0, -1, 100.5]),
  whole('max_tokens', [1, 2147483647], [0, -1, 2147483648, 1e300]),
  whole('min_tokens', [0, 2147483647], [-1, 2147483648]),
  whole('top_k', [-1, 0, 40, 2147483647], [-2, 2147483648]),
  whole('seed', [0, -1, 2 ** 63, -(2 ** 63), 2 ** 60 + 2 ** 20], [1e19, -1e19]),
  {
    field: 'stop',
    types: ['string', 'array'],
    accepted: ['\n', [], ['a'], Array(16).fill('a'), 'é'.repeat(128)],
    refused: [
      ['', 'invalid_value'],
      ['x'.repeat(257), 'invalid_value'],
      ['é'.repeat(129), 'invalid_value'],
      [Array(17).fill('a'), 'invalid_value'],
      [Array(100_000).fill(7), 'invalid_value'],
      [['a', ''], 'invalid_value', '[1]'],
      [['a', 5], 'invalid_type', '[1]'],
      [['a', null], 'invalid_type', '[1]'],
    ],
  },
  {
    field: 'logit_bias',
    types: ['object'],
    accepted: [{}, { 0: -100, 511: 100 }],
    refused: [
      [{ 5: 100.5 }, 'invalid_value', '.5'],
      [{ 5: -101 }, 'invalid_value', '.5'],
      [{ 5: '1' }, 'invalid_type', '.5'],
      [{ 512: 1 }, 'invalid_value', '.512'],
      [{ 99999999999: 1 }, 'invalid_value', '.99999999999'],
      [{ a: 1 }, 'invalid_value', '.a'],
      [{ '-1': 1 }, 'invalid_value', '.-1'],
      [{ '1.5': 1 }, 'invalid_value', '.1.5'],
      [{ '01': 1 }, 'invalid_value', '.01'],
      [Object.fromEntries(Array.from({ length: 1025 }, (_, i) => [i, 1])), 'invalid_value'],
    ],
  },
  whole('n', [1, 16], [0, -1, 17, 129]),
  whole('priority', [-8, 0, 7], [-9, 8]),
  {
    field: 'cache_salt',
    types: ['string'],
    accepted: ['x', 'é'.repeat(1024)],
    refused: [
      ['', 'invalid_value'],
      ['x'.repeat(1025), 'invalid_value'],
    ],
  },
  { field: 'ignore_eos', types: ['boolean'], accepted: [true, false], refused: [] },
  { field: 'stream', types: ['boolean'], accepted: [true, false], refused: [] },
]

function numeric(field: string, accepted: number[], outside: number[]): FieldCases {
  return {
    field,
    types: ['number'],
    accepted,
    refused: [...outside, infinite].map((value) => [value, 'invalid_value'] as const),
  }
}

function whole(field: string, accepted: number[], outside: number[]): FieldCases {
  const { refused, ...rest } = numeric(field, accepted, outside)
  return { ...rest, refused: [...refused, [1.5, 'invalid_type']] }
}

/** JSON with the one number that JSON.stringify cannot write: 1e999 is read as Infinity. */
export function toJson(body: object): string {
  const text = JSON.stringify(body, (_, value) => (value === infinite ? 'infinite' : value))
  return text.replaceAll('"infinite"', '1e999')
}
