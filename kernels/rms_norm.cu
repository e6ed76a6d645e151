#include "kernels/cuda_plain.cuh"
#include "kernels/rms_norm.h"

namespace kernels {
namespace {

constexpr int kThreads = 256;

// The sum of x over the block, in every thread, in an order that never changes.
__device__ __forceinline__ float block_sum(float x) {
  __shared__ float sums[kThreads / kWarpSize];
  x = warp_sum(x);
  if (threadIdx.x % kWarpSize == 0) sums[threadIdx.x / kWarpSize] = x;
  __syncthreads();
  float total = 0;
#pragma unroll
  for (int warp = 0; warp < kThreads / kWarpSize; ++warp) total += sums[warp];
  return total;
}

// A block a group. The second pass finds the row in the cache.
template <typename T>
__global__ void __launch_bounds__(kThreads) rms_norm_kernel(const __grid_constant__ RmsNorm op) {
  wait_for_inputs();
  const std::int64_t token = blockIdx.x / op.num_groups;
  const std::int64_t from =
      (blockIdx.x % op.num_groups) * static_cast<std::int64_t>(op.hidden_size);
  const T* x = static_cast<const T*>(op.x) + token * op.x_stride + from;
  const T* weight = static_cast<const T*>(op.weight);
  T* out = static_cast<T*>(op.out) + token * op.out_stride + from;

  float sum_of_squares = 0;
  for (int i = threadIdx.x; i < op.hidden_size; i += kThreads) {
    const float value = as_float(x[i]);
    sum_of_squares += value * value;
  }
  const float scale = 1 / sqrtf(block_sum(sum_of_squares) / op.hidden_size + op.epsilon);
  for (int i = threadIdx.x; i < op.hidden_size; i += kThreads) {
    out[i] = narrow<T>(as_float(weight[i]) * (as_float(x[i]) * scale));
  }
}

}  // namespace

void rms_norm_cuda(const RmsNorm& op, Stream stream) {
  with_device_type(op.type, "rms_norm", [&](auto zero) {
    using T = decltype(zero);
    if (op.num_tokens <= 0 || op.hidden_size <= 0) return;
    CHECK(op.num_groups >= 1 && op.num_tokens <= INT32_MAX / op.num_groups,
          "rms_norm: " + std::to_string(op.num_tokens) + " tokens of " +
              std::to_string(op.num_groups) + " groups; there must be 1 to 2147483647 groups");
    launch(rms_norm_kernel<T>, op.num_tokens * op.num_groups, kThreads, 0, stream, op);
  });
}

}  // namespace kernels
