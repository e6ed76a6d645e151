/**
 * Places where the scheduler may take an unlikely turn that is as right as the usual one, so that a
 * simulation comes to rare states soon:
 *
 *   'late_plan'   nothing is planned while a step is in flight
 *   'preempt'     a sequence is preempted though there is room
 *   'small_chunk' prompts get one token
 *   'no_admission' nobody is admitted in a step that others run in
 *   'cache_miss'  a prompt computes what it could have shared
 *   'cache_reset' cached blocks are given up
 */
export type BuggifyPlace =
  | 'late_plan'
  | 'preempt'
  | 'small_chunk'
  | 'no_admission'
  | 'cache_miss'
  | 'cache_reset'

/** Says whether to take the turn, now. */
export type Buggify = (place: BuggifyPlace) => boolean

/** What production has. */
export const neverBuggify: Buggify = () => false
