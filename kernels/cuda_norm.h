// RMS normalisation on CUDA, of whole rows or of equal groups of a row (a norm over each head):
//
//   out[t, g, i] = weight[i] * x[t, g, i] / sqrt(mean_j(x[t, g, j]^2) + epsilon)
//
// Sums are float. kReference rounds x / sqrt(..) to `type` before it is multiplied by its weight,
// as the common PyTorch implementation does; kFast rounds once. The bits of a group depend on that
// group alone.
#pragma once

#include <cstdint>

#include "kernels/cuda_linear.h"

namespace kernels {

// All pointers are to device memory, 16-byte aligned.
struct CudaNorm {
  void* out;           // [num_tokens, num_groups * group_size] of `type`; may be x itself
  const void* x;       // [num_tokens, num_groups * group_size] of `type`
  const void* weight;  // [group_size] of `type`
  float epsilon;       // added to the mean square, no unit
  DType type;          // kF32, kF16 or kBF16
  Numerics numerics;
  int num_tokens;           // 0 does nothing
  int num_groups;           // of a token; 1 normalises the row as a whole
  int group_size;           // elements; a multiple of 8 unless `type` is kF32
  std::int64_t x_stride;    // elements from one token to the next, a multiple of 8
  std::int64_t out_stride;  // the same for out
};

// Throws Error on sizes outside the ranges above, CudaError when the launch fails.
void cuda_norm(const CudaNorm& op, Stream stream);

}  // namespace kernels
