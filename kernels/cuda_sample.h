// Picks the next tokens on CUDA: the same rules, in the same order, as sample.h, with the same
// random numbers and the same sums: from the same logits a row draws exactly what it would draw on
// the CPU.
//
// Beyond what the CPU's sampling does, a row may have a token mask and may ask for
// log-probabilities, and a row whose parameters are unsound (a NaN, a temperature outside 0..1e6,
// top_p or min_p outside 0..1, a repetition penalty outside 1e-6..1e6, another penalty outside
// -1e6..1e6, a negative top_k or choice) gives -1.
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
  // Log-probabilities after penalties, adjustments and mask, before temperature and filters; all
  // three and num_top_logprobs null when no row wants any. By sequence; only those that want some
  // are written.
  float* sampled_logprobs;      // the picked token's; NaN if the row could not be sampled
  std::int32_t* top_token_ids;  // [.., kMaxTopLogprobs], likeliest first, lower id on ties; -1
                                // beyond what was asked for and beyond the tokens that are possible
  float* top_logprobs;          // [.., kMaxTopLogprobs]; NaN where the id is -1
  float* logits;                // [num_rows, vocab_size]; overwritten; fast if 16-byte aligned
  std::int64_t logits_stride;   // fast if a multiple of 4
  int num_rows;                 // 0 does nothing
  int vocab_size;               // at most 2^20
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

// Bytes of workspace for every call of at most `max_rows` rows of that very vocabulary. Zero before
// the first call; each call leaves its counters zero.
std::size_t cuda_sample_workspace_bytes(int max_rows, int vocab_size);

// Launches depend on num_rows and vocab_size alone (and on which pointers are null), never on
// values in device memory. Throws Error if vocab_size is out of range, CudaError when a launch
// fails.
void cuda_sample(const CudaSample& op, Stream stream);

}  // namespace kernels
