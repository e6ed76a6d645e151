// Picks the next tokens on CUDA: the same rules, in the same order, as sample.h, with the same
// random numbers, so that a seeded row draws what it would draw on the CPU unless two scores lie
// closer together than the rounding of their logits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda_stream.h"
#include "kernels/sample.h"

namespace kernels {

// Most candidates a row may ask to be reported.
inline constexpr int kMaxTopLogprobs = 20;

// All pointers are to device memory; fields not explained here mean what they mean in Sample.
struct CudaSample {
  std::int32_t* sampled_token_ids;  // by sequence; -1 as in Sample; others are left as they are
  // Log-probabilities after penalties and adjustments, before temperature and filters; all three
  // null when no row wants any. By sequence.
  float* sampled_logprobs;      // the picked token's
  std::int32_t* top_token_ids;  // [.., kMaxTopLogprobs], likeliest first; -1 beyond what was asked
  float* top_logprobs;          // [.., kMaxTopLogprobs]
  float* logits;                // [num_rows, vocab_size]; overwritten
  std::int64_t logits_stride;
  int num_rows;
  int vocab_size;
  const std::int32_t* row_sequences;  // [num_rows]; -1: the row is not sampled
  const float* temperatures;
  const float* top_ps;
  const float* min_ps;
  const float* repetition_penalties;
  const float* frequency_penalties;
  const float* presence_penalties;
  const std::int32_t* top_ks;
  const std::int32_t* choices;
  const std::uint32_t* seeds_low;
  const std::uint32_t* seeds_high;
  const std::int32_t* context_lens;
  const std::int32_t* sampler_slots;
  const std::int32_t* num_top_logprobs;  // by sequence, -1: no log-probabilities for it; or null
  const std::int32_t* mask_rows;         // by sequence, row of token_masks or -1; or null
  const std::uint32_t* token_masks;      // [.., (vocab_size + 31) / 32]: bit 0 bans a token
  std::uint16_t* output_counts;          // [slots, vocab_size]
  std::uint32_t* prompt_bits;            // [slots, (vocab_size + 31) / 32]
  const std::int32_t* bias_starts;       // by sequence, one more; null means none
  const std::int32_t* bias_token_ids;
  const float* bias_values;
  void* workspace;  // cuda_sample_workspace_bytes(..)
};

// Bytes of workspace. Zero before the first call; each call leaves its counters zero.
std::size_t cuda_sample_workspace_bytes(int max_rows, int vocab_size);

// Launches depend on num_rows and vocab_size alone (and on which pointers are null), never on
// values in device memory. Throws CudaError when a launch fails.
void cuda_sample(const CudaSample& op, Stream stream);

}  // namespace kernels
