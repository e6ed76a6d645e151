// Picks the next token of each sampling row from its logits. The steps, in order:
//
//   1. penalties     a token in prompt or output: logit > 0 ? logit / repetition : logit *
//   repetition;
//                    then minus frequency * (times in the output) and minus presence if it is there
//   2. adjustments   logit += value for each sparse (token, value); -infinity bans a token
//   3. temperature   logit / temperature; 0 takes the largest logit at once, lowest id on ties
//   4. top-k         the k likeliest tokens (lower id first among equals); 0 keeps all
//   5. top-p         of those, the shortest prefix whose share of their mass reaches top_p: the
//   token
//                    that crosses stays; 1 or more keeps all, 0 keeps one
//   6. min-p         of those, the ones at least min_p times as likely as the likeliest; 0 keeps
//   all
//   7. pick          argmax over the kept tokens of logit / temperature + gumbel, lowest id on ties
//
// The noise comes from a counter, so a seeded row draws the same alone or in a crowd:
//
//   words  = philox4x32(counter = {position, choice, token >> 2, 0}, key = {seed_low, seed_high})
//   u      = (words[token & 3] + 0.5) * 2^-32
//   gumbel = -log(-log(u))
//
// where position is the absolute position of the new token, which is context_lens[s]. Masses are
// summed as integers and the final scores are computed in double with a logarithm of our own: the
// pick does not depend on the instruction set or the threads.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/thread_pool.h"
#include "kernels/types.h"

namespace kernels {

// What the penalties know of one sequence. Both may be null for rows without penalties.
struct SamplerSlot {
  std::uint16_t* output_counts;  // [vocab_size], times in the output, saturating
  std::uint32_t* prompt_bits;    // [(vocab_size + 31) / 32], bit token % 32 of word token / 32
};

struct Sample {
  // Result, by sequence: sampled_token_ids[row_sequences[row]]. -1 if the row cannot be sampled: a
  // NaN, +infinity, no token left, or an adjustment whose token is outside [0, vocab_size).
  std::int32_t* sampled_token_ids;
  float* logits;               // [num_rows, vocab_size]; overwritten
  std::int64_t logits_stride;  // elements from one row to the next
  int num_rows;                // 0 does nothing
  int vocab_size;
  const std::int32_t* row_sequences;  // [num_rows]: which sequence a row of logits is for

  // By sequence.
  const float* temperatures;
  const float* top_ps;
  const float* min_ps;
  const float* repetition_penalties;  // 1 is off
  const float* frequency_penalties;   // 0 is off
  const float* presence_penalties;    // 0 is off
  const std::int32_t* top_ks;
  const std::int32_t* choices;
  const std::uint32_t* seeds_low;
  const std::uint32_t* seeds_high;
  const std::int32_t* context_lens;   // tokens in the cache after this step
  const std::int32_t* sampler_slots;  // index into `slots`

  SamplerSlot* slots;  // a picked token is counted here when the row's penalties are in use

  // Adjustments of sequence s: [bias_starts[s], bias_starts[s + 1]). Null bias_starts means none.
  const std::int32_t* bias_starts;
  const std::int32_t* bias_token_ids;
  const float* bias_values;

  void* scratch;  // sample_scratch_bytes(vocab_size, threads), 64-byte aligned
};

std::size_t sample_scratch_bytes(int vocab_size, int num_threads);

void sample_cpu(const Sample& op, ThreadPool& pool);

}  // namespace kernels
