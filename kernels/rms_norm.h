// RMS normalisation with a learned scale:
//
//   out[t, i] = weight[i] * x[t, i] / sqrt(mean_j(x[t, j]^2) + epsilon)
//
// Statistics are kept in float whatever the type, and the result is rounded once. A row is summed
// in one fixed order: its bits depend neither on the batch, nor the threads, nor the instruction
// set.
#pragma once

#include <cstdint>

#include "kernels/cuda_stream.h"
#include "kernels/thread_pool.h"
#include "kernels/types.h"

namespace kernels {

struct RmsNorm {
  void* out;                // [num_tokens, num_groups, hidden_size] of `type`; may be x itself
  const void* x;            // [num_tokens, num_groups, hidden_size]
  const void* weight;       // [hidden_size], shared by the groups
  DType type;               // kF32, kF16 or kBF16
  int num_tokens;           // rows; 0 does nothing
  int hidden_size;          // elements of a group, any number from 1
  std::int64_t out_stride;  // elements from one token to the next
  std::int64_t x_stride;
  float epsilon;  // added to the mean square, no unit
  // Groups of a token, side by side, each normalised alone: the heads in Qwen3's q and k norm.
  int num_groups = 1;
};

// Throws Error on a type other than the three.
void rms_norm_cpu(const RmsNorm& op, ThreadPool& pool);

// The same on device memory, its sums in an order of its own; throws CudaError too, when the launch
// fails.
void rms_norm_cuda(const RmsNorm& op, Stream stream);

}  // namespace kernels
