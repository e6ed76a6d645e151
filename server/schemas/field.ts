/** What happens to a field of a request. */
export type Verdict = 'supported' | 'ignored' | 'refused'

export interface Field {
  readonly verdict: Verdict
  /** One sentence or phrase for docs/compatibility.md; of a refused field also the hint it answers. */
  readonly note: string
  /** Values of a refused field that ask for nothing, and are accepted. */
  readonly neutral: readonly unknown[]
  /** Entries an array or object may have; looked at before anything else. */
  readonly maxEntries: number
}

/**
 * Verdicts by dotted path, `[]` for the elements of an array. A path such as `stream_options.x`
 * makes `stream_options` a container whose own keys are judged the same way.
 */
export type FieldTable = ReadonlyMap<string, Field>

export function supported(note: string, maxEntries = Number.POSITIVE_INFINITY): Field {
  return { verdict: 'supported', note, neutral: [], maxEntries }
}

/** For hints that change no answer. */
export function ignored(note: string): Field {
  return { verdict: 'ignored', note, neutral: [], maxEntries: Number.POSITIVE_INFINITY }
}

/** For what would change the answer: dropping it silently would be a lie. */
export function refused(note: string, ...neutral: readonly unknown[]): Field {
  return { verdict: 'refused', note, neutral, maxEntries: Number.POSITIVE_INFINITY }
}
