// Linear layers, the contract form: y = x W^T (+ bias), with W row-major as checkpoints have it,
// one type throughout, sums in float, rounded once. The engine runs packed weights (linear.h) and
// fused layers (cuda_linear.h) instead.
#pragma once

#include "kernels/cuda_stream.h"
#include "kernels/thread_pool.h"
#include "kernels/types.h"

namespace kernels {

struct PlainLinear {
  void* out;           // [num_tokens, out_features], rows contiguous; must not overlap the others
  const void* x;       // [num_tokens, in_features], rows contiguous
  const void* weight;  // [out_features, in_features], rows contiguous
  const void* bias;    // [out_features] or null
  DType type;          // kF32, kF16 or kBF16, of all four
  int num_tokens;      // rows; 0 does nothing
  int in_features;     // at least 1
  int out_features;    // at least 1
};

// Throws Error, naming the value, on sizes outside the ranges above or another type.
void linear_plain_cpu(const PlainLinear& op, ThreadPool& pool);

// The same on device memory, with true float multiply-adds for all three types; throws CudaError
// too, when the launch fails.
void linear_plain_cuda(const PlainLinear& op, Stream stream);

// What both refuse before anything is read.
void check_linear_plain(const PlainLinear& op);

}  // namespace kernels
