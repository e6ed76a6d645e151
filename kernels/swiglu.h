// The gated activation of the MLP:
//
//   out[t, i] = up[t, i] * gate[t, i] / (1 + exp(-gate[t, i]))
//
// Computed in float whatever the type and rounded once; exp is within 2 ulp and has the same bits
// on every instruction set.
#pragma once

#include <cstdint>

#include "kernels/cuda_stream.h"
#include "kernels/thread_pool.h"
#include "kernels/types.h"

namespace kernels {

struct SwiGlu {
  void* out;                // [num_tokens, intermediate_size] of `type`; may be gate or up
  const void* gate;         // [num_tokens, intermediate_size]
  const void* up;           // [num_tokens, intermediate_size]
  DType type;               // kF32, kF16 or kBF16
  int num_tokens;           // rows; 0 does nothing
  int intermediate_size;    // elements of a row
  std::int64_t out_stride;  // elements from one row to the next
  std::int64_t gate_stride;
  std::int64_t up_stride;
};

// Throws Error on a type other than the three.
void swiglu_cpu(const SwiGlu& op, ThreadPool& pool);

// The same on device memory, with an exp of its own; throws CudaError too, when the launch fails.
void swiglu_cuda(const SwiGlu& op, Stream stream);

}  // namespace kernels
