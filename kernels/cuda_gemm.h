// The tensor-core regime of cuda_linear.h, for two-byte types and without the norm: what it
// computes, where it rounds and what is_batch_invariant promises is said there. Good for every
// num_tokens; below five tokens reading W with wide loads is faster.
#pragma once

#include <cstddef>

#include "kernels/cuda_linear.h"

namespace kernels {

// Bytes of workspace that suffice for every call of at most these sizes. Zero before the first
// call; each call leaves its counters zero.
std::size_t cuda_gemm_workspace_bytes(int max_tokens, int max_in_features, int max_out_features);

// norm_weight must be null and type kF16 or kBF16. Throws Error on sizes or types outside what
// CudaLinear allows, CudaError when a launch fails.
void cuda_gemm(const CudaLinear& op, Stream stream);

}  // namespace kernels
