// Linear layers of the forward pass on CUDA, fused with what stands before and behind them:
//
//   n      = norm_weight ? rms_norm(x) : x
//   y      = n W^T (+ bias)
//   store        out = y
//   add_residual out = out + y
//   swiglu       out = silu(gate) * up       y's columns: 16 of gate, 16 of up, 16 of gate ...
//   logits       out = y in float
//
// Three regimes, one contract: up to four tokens a warp reads rows of W with wide loads; from there
// on tensor cores, W as the 16-row operand and the tokens as the 8-column one; kF32 runs plain
// float multiply-adds. Sums are float. Where it is rounded to `type`: with `Numerics::kReference`
// wherever the common PyTorch implementation stores a tensor (the normalised x before it is
// multiplied by its weight and after; y; silu(gate); the sum with the residual; logits); with
// kFast only operands of tensor cores and what is stored.
//
// `is_batch_invariant`: the bits of a row of y depend on that row of x and on the shape of W alone,
// not on num_tokens: tensor cores for every num_tokens, and a split of the sum over k that is a
// function of (out_features, in_features).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda_stream.h"
#include "kernels/types.h"

namespace kernels {

enum class Numerics : std::uint8_t { kReference, kFast };

enum class LinearOutput : std::uint8_t { kStore, kAddResidual, kSwiGlu, kLogits };

// Rows of gate and up that alternate in the weight of a kSwiGlu layer.
inline constexpr int kGateUpGroup = 16;

// All pointers are to device memory, 16-byte aligned.
struct CudaLinear {
  void* out;  // [num_tokens, out_features] of `type` (kSwiGlu: out_features / 2; kLogits: float)
  const void* x;            // [num_tokens, in_features] of `type`
  const void* weight;       // [out_features, in_features] of `type`, row-major
  const void* bias;         // [out_features] of `type`, or null
  const void* norm_weight;  // [in_features] of `type`, or null: x is used as it is
  float norm_epsilon;
  DType type;  // kF32, kF16 or kBF16
  LinearOutput output;
  Numerics numerics;
  bool is_batch_invariant;
  int num_tokens;           // 0 does nothing
  int in_features;          // a multiple of 8
  int out_features;         // kSwiGlu: a multiple of 2 * kGateUpGroup
  std::int64_t x_stride;    // elements from one token to the next, a multiple of 8
  std::int64_t out_stride;  // elements
  void* workspace;          // cuda_linear_workspace_bytes(..); shared by all calls on one stream
};

// Bytes of workspace that suffice for every call of at most these sizes. The workspace must be zero
// before the first call; each call leaves its counters zero.
std::size_t cuda_linear_workspace_bytes(int max_tokens, int max_in_features, int max_out_features);

// Throws Error on sizes or types outside the ranges above, CudaError when a launch fails.
void cuda_linear(const CudaLinear& op, Stream stream);

}  // namespace kernels
