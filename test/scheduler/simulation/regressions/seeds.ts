/**
 * Seeds that failed once, and what was wrong. They are run again with each test; what they do
 * changes with the simulation, so each fault has a test of its own besides.
 */
export const regressionSeeds: readonly { readonly seed: number; readonly fault: string }[] = []
