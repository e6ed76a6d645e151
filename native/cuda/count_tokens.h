// What the penalties know of a sequence, on the device: bits of its prompt's ids, counts of its
// output's (SamplerSlot in kernels/sample.h).
#pragma once

#include <cstdint>

#include "kernels/cuda_stream.h"

namespace kvasir {

// All pointers are to memory the device can reach; token_ids may be pinned host memory.
struct CountTokens {
  std::uint16_t* output_counts;   // [vocab_size]; the 4-byte words it touches are all its memory
  std::uint32_t* prompt_bits;     // [(vocab_size + 31) / 32]
  const std::int32_t* token_ids;  // each in [0, vocab_size)
  int num_tokens;                 // 0 does nothing
  int num_prompt_tokens;          // the first ones; the rest are output
};

// Adds tokens to what the slot knows; counts stop at 65,535. Throws kernels::CudaError when the
// launch fails.
void count_tokens(const CountTokens& op, kernels::Stream stream);

// Whether this build has code for the calling thread's current device.
bool has_code_for_device();

}  // namespace kvasir
