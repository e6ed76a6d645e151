import { maxPriority, minPriority } from '../../scheduler/sequence.js'
import type { Submission } from '../frames-to-core.js'

/** What a submission is held against. */
export interface SubmissionLimits {
  readonly vocabSize: number
  readonly maxContextLen: number
  readonly maxSequences: number
}

/**
 * Says what is wrong with a submission, undefined if nothing is. The front has checked all of this
 * already, with better words; it is checked again because behind this line a wrong number is a
 * wrong memory access, and because nothing a request carries may throw inside the step loop.
 */
export function findSubmissionFault(
  submission: Submission,
  limits: SubmissionLimits,
): string | undefined {
  return (
    findChoicesFault(submission, limits) ??
    findTokenFault(submission, limits) ??
    findSamplingFault(submission)
  )
}

function findChoicesFault(submission: Submission, limits: SubmissionLimits): string | undefined {
  const { numChoices, priority } = submission
  if (!isWithin(numChoices, 1, limits.maxSequences)) {
    return `${numChoices} choices were asked for; 1 to ${limits.maxSequences} can run together.`
  }
  const isPriority = Number.isInteger(priority) && isWithin(priority, minPriority, maxPriority)
  return isPriority ? undefined : `A priority is ${minPriority} to ${maxPriority}.`
}

function findTokenFault(submission: Submission, limits: SubmissionLimits): string | undefined {
  const { promptTokenIds, maxTokens } = submission
  const numTokens = promptTokenIds.length + maxTokens
  if (promptTokenIds.length < 1) return 'The prompt is empty.'
  if (maxTokens < 1 || numTokens > limits.maxContextLen) {
    return (
      `A prompt of ${promptTokenIds.length} tokens and an answer of 1 to ${maxTokens} do not ` +
      `fit a context of ${limits.maxContextLen}.`
    )
  }
  const lists = [promptTokenIds, submission.stopTokenIds, submission.biasTokenIds]
  for (const tokenIds of lists) {
    const wrong = tokenIds.find((tokenId) => tokenId < 0 || tokenId >= limits.vocabSize)
    if (wrong !== undefined) return `Token ${wrong} is not in a vocabulary of ${limits.vocabSize}.`
  }
  return undefined
}

function findSamplingFault({ sampling, biasValues }: Submission): string | undefined {
  const { temperature, topP, topK, minP, repetitionPenalty } = sampling
  const isValid =
    temperature >= 0 &&
    isWithin(topP, 0, 1) &&
    isWithin(minP, 0, 1) &&
    Number.isInteger(topK) &&
    isWithin(topK, 0, 2 ** 31 - 1) &&
    repetitionPenalty > 0 &&
    Object.values(sampling).every(Number.isFinite) &&
    biasValues.every(Number.isFinite)
  return isValid ? undefined : 'A sampling parameter is out of its range.'
}

function isWithin(value: number, min: number, max: number): boolean {
  return value >= min && value <= max
}
