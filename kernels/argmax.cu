#include <climits>

#include "kernels/argmax.h"
#include "kernels/cuda_plain.cuh"

namespace kernels {
namespace {

constexpr int kThreads = 1024;
constexpr int kWarps = kThreads / kWarpSize;

struct Candidate {
  float value;
  long long index;
};

// A total order, so that the winner does not depend on who is compared with whom: a NaN before all
// numbers, the larger number first, the lower index on ties.
__device__ __forceinline__ Candidate better_of(const Candidate& a, const Candidate& b) {
  const bool is_a_nan = isnan(a.value);
  const bool is_b_nan = isnan(b.value);
  if (is_a_nan != is_b_nan) return is_a_nan ? a : b;
  if (!is_a_nan && a.value != b.value) return a.value > b.value ? a : b;
  return a.index < b.index ? a : b;
}

__device__ __forceinline__ Candidate best_of_warp(Candidate best) {
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
    const Candidate other = {__shfl_xor_sync(0xffffffffu, best.value, offset),
                             __shfl_xor_sync(0xffffffffu, best.index, offset)};
    best = better_of(best, other);
  }
  return best;
}

// One block: thread i looks at the values i, i + 1024, ...
template <typename T>
__global__ void __launch_bounds__(kThreads) argmax_kernel(const __grid_constant__ Argmax op) {
  __shared__ Candidate best_of_warps[kWarps];
  wait_for_inputs();
  const T* values = static_cast<const T*>(op.values);
  Candidate best = {-INFINITY, LLONG_MAX};
  for (long long i = threadIdx.x; i < op.num_values; i += kThreads) {
    best = better_of(best, {as_float(values[i * op.stride]), i});
  }
  best = best_of_warp(best);
  if (threadIdx.x % kWarpSize == 0) best_of_warps[threadIdx.x / kWarpSize] = best;
  __syncthreads();
  if (threadIdx.x >= kWarpSize) return;
  best = best_of_warp(best_of_warps[threadIdx.x]);
  if (threadIdx.x != 0) return;
  *op.max_index = best.index;
  if (op.max_value != nullptr) *static_cast<T*>(op.max_value) = values[best.index * op.stride];
}

static_assert(kWarps == kWarpSize, "the first warp compares the best of all");

}  // namespace

void argmax_cuda(const Argmax& op, Stream stream) {
  with_device_type(op.type, "argmax", [&](auto zero) {
    using T = decltype(zero);
    check_argmax(op);
    launch(argmax_kernel<T>, 1, kThreads, 0, stream, op);
  });
}

}  // namespace kernels
