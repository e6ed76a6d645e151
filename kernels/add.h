// Element-wise sum of two matrices of one type:
//
//   out[t, i] = a[t, i] + b[t, i]
//
// Narrow types are widened to float, added once and rounded once to nearest even, so the result is
// the correctly rounded sum.
#pragma once

#include <cstdint>

#include "kernels/cuda_stream.h"
#include "kernels/thread_pool.h"
#include "kernels/types.h"

namespace kernels {

struct Add {
  void* out;                // [num_tokens, hidden_size] of `type`; may be a or b
  const void* a;            // [num_tokens, hidden_size]
  const void* b;            // [num_tokens, hidden_size]
  DType type;               // kF32, kF16 or kBF16
  int num_tokens;           // rows; 0 does nothing
  int hidden_size;          // elements of a row
  std::int64_t out_stride;  // elements from one row to the next
  std::int64_t a_stride;
  std::int64_t b_stride;
};

// Throws Error on a type other than the three.
void add_cpu(const Add& op, ThreadPool& pool);

// The same on device memory; throws CudaError too, when the launch fails.
void add_cuda(const Add& op, Stream stream);

}  // namespace kernels
