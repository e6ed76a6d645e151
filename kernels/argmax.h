// Largest element of a vector and where it is. The lowest index wins a tie. A NaN counts as the
// largest of all, so the first NaN is the answer if there is one: a broken row cannot pass for a
// sound one.
#pragma once

#include <cstdint>

#include "kernels/cuda_stream.h"
#include "kernels/thread_pool.h"
#include "kernels/types.h"

namespace kernels {

struct Argmax {
  std::int64_t* max_index;  // [1]
  void* max_value;          // [1] of `type`; may be null
  const void* values;       // [num_values] of `type`
  DType type;               // kF32, kF16 or kBF16
  std::int64_t num_values;  // at least 1
  std::int64_t stride;      // elements from one value to the next
};

// Throws Error on an empty vector or a type other than the three.
void argmax_cpu(const Argmax& op, ThreadPool& pool);

// The same on device memory; throws CudaError too, when the launch fails.
void argmax_cuda(const Argmax& op, Stream stream);

// What both refuse before anything is read.
void check_argmax(const Argmax& op);

}  // namespace kernels
