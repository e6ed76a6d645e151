// Copy between arbitrary strides:
//
//   out[i0, i1, ..] = in[i0, i1, ..]
//
// Elements are of any size and their bytes are not looked at, so every type, and NaN with its
// payload, arrives as it left. Strides may be negative; those of `in` may be zero (a broadcast).
#pragma once

#include <cstdint>

#include "kernels/cuda_stream.h"
#include "kernels/thread_pool.h"

namespace kernels {

inline constexpr int kMaxRearrangeDims = 8;

struct Rearrange {
  void* out;
  const void* in;                               // must not overlap out
  int element_bytes;                            // at least 1
  int num_dims;                                 // 0 (a single element) to kMaxRearrangeDims
  std::int64_t shape[kMaxRearrangeDims];        // a 0 in it: nothing is done
  std::int64_t out_strides[kMaxRearrangeDims];  // elements
  std::int64_t in_strides[kMaxRearrangeDims];
};

// Throws Error, naming the value, on sizes outside the ranges above, and where `out` has a stride
// of 0: several elements would be written to one place.
void rearrange_cpu(const Rearrange& op, ThreadPool& pool);

// The same on device memory; throws CudaError too, when the launch fails.
void rearrange_cuda(const Rearrange& op, Stream stream);

// The same copy in as few dimensions as it takes, for both versions: neighbours that lie in one
// stretch in `in` and in `out` become one dimension, and elements that have no register of their
// size, or do not lie on a multiple of it, become several smaller ones.
struct RearrangePlan {
  int unit_bytes;          // 1, 2, 4, 8 or 16
  std::int64_t num_units;  // of the whole copy
  int num_dims;            // at least 1
  std::int64_t shape[kMaxRearrangeDims + 1];
  std::int64_t out_strides[kMaxRearrangeDims + 1];  // units
  std::int64_t in_strides[kMaxRearrangeDims + 1];
};

RearrangePlan plan_rearrange(const Rearrange& op);

}  // namespace kernels
