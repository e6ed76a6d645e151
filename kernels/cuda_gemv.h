// The regime of cuda_linear.h for one to four tokens: W is read once, with wide loads, and every
// product is a float multiply-add. That reading is all the time there is, so the kernel starts it
// before the kernel in front has ended (cuda_gemv.cuh).
#pragma once

#include "kernels/cuda_linear.h"

namespace kernels {

// Most tokens of a call.
inline constexpr int kMaxGemvTokens = 4;

// Whether cuda_gemv() takes the call: one to four tokens of a two-byte type that need not be
// batch-invariant, and x fits into a block's shared memory beside the weights under way.
bool gemv_takes(const CudaLinear& op);

// No workspace is used. Throws Error if gemv_takes() does not hold, CudaError when the launch
// fails.
void cuda_gemv(const CudaLinear& op, Stream stream);

}  // namespace kernels
