import process from 'node:process'

/** Prints TAP. The machines these programs run on have no test runner. */
export class Report {
  #numRun = 0
  #numFailed = 0

  ok(isGood: boolean, name: string, note?: string): boolean {
    this.#numRun++
    if (!isGood) this.#numFailed++
    process.stdout.write(`${isGood ? '' : 'not '}ok ${this.#numRun} - ${name}\n`)
    if (note !== undefined) this.note(note)
    return isGood
  }

  /** Two lists of answers, id by id; names the first difference. */
  sameIds(
    got: readonly (readonly number[])[],
    want: readonly (readonly number[])[],
    name: string,
  ): boolean {
    const differences = want.flatMap((ids, row) => {
      const place = ids.findIndex((id, i) => got[row]?.[i] !== id)
      const isWhole = place === -1 && got[row]?.length === ids.length
      return isWhole ? [] : [`answer ${row} from token ${place === -1 ? ids.length : place} on`]
    })
    const isSame = differences.length === 0 && got.length === want.length
    const note = isSame
      ? undefined
      : `${differences.length} of ${want.length} differ: ${differences[0]}`
    return this.ok(isSame, name, note)
  }

  note(text: string): void {
    process.stdout.write(`# ${text}\n`)
  }

  /** The exit code. */
  finish(): number {
    process.stdout.write(`1..${this.#numRun}\n# ${this.#numFailed} failed\n`)
    return this.#numFailed === 0 ? 0 : 1
  }
}
