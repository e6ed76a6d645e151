// What linear.cpp asks of an instruction set. Nothing here owns memory or knows of threads.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu_features.h"
#include "kernels/types.h"

namespace kernels {

// A few panels times a few tokens: one thread's piece of work.
struct LinearTask {
  const std::byte* panels;   // the first of them; they lie one after the other
  std::size_t panel_stride;  // bytes
  int num_panels;            // at most kMaxTaskPanels
  int in_features;           // k
  const float* x;            // [num_tokens, in_features], rows x_stride apart
  std::int64_t x_stride;     // elements
  const float* sums;         // [num_tokens, sums_stride]: sum of x over each 32 k; q4_1 only
  std::int64_t sums_stride;  // elements
  int num_tokens;            // at most kMaxTaskTokens in `large`, kMaxSmallTokens in `small`
  float* totals;             // result [num_tokens, num_panels * kPanelRows], rows contiguous
  std::byte* slab;           // kSlabBytes of scratch for `large`, 64-byte aligned
};

inline constexpr int kMaxTaskPanels = 8;
inline constexpr int kMaxTaskTokens = 96;
// The most tokens for which `small` is the faster one; about the same for all instruction sets.
inline constexpr int kMaxSmallTokens = 16;
// Vectors of 16 weights that `large` unpacks at a time: 16 KB, so that they stay in first-level
// cache beside the activations. Then come their scales and minima, one for each 16 k at most.
inline constexpr int kSlabVectors = 256;
inline constexpr std::size_t kSlabBytes =
    16 * sizeof(float) * (kSlabVectors + 2 * kSlabVectors / 16);

using LinearFunction = void (*)(const LinearTask&);

struct LinearKernels {
  // Unpacks weights in registers and uses each value at once: for few tokens.
  LinearFunction small[kNumDTypes];
  // Unpacks a slab of weights to floats first and then runs over the tokens in register tiles.
  LinearFunction large[kNumDTypes];
  // sums[b] = sum of x[32 b .. 32 b + 32) for each whole block of one row.
  void (*sum_blocks)(const float* x, int in_features, float* sums);
};

const LinearKernels& linear_kernels_of(Isa isa);

// One per instruction set that was compiled in.
const LinearKernels& linear_kernels_portable();
const LinearKernels& linear_kernels_avx2();
const LinearKernels& linear_kernels_avx512();
const LinearKernels& linear_kernels_neon();

}  // namespace kernels
