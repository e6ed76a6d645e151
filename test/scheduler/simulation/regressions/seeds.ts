/**
 * Seeds that failed once, and what was wrong. They are run again with each test; what they do
 * changes with the simulation, so each fault has a test of its own besides.
 */
export const regressionSeeds: readonly { readonly seed: number; readonly fault: string }[] = [
  { seed: 257, fault: 'blocks of a failed sequence were found while a second step had it' },
  { seed: 104745, fault: 'a block of a failed sequence took the place of its twin in that commit' },
]
