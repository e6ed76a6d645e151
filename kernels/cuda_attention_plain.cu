// Attention for the types and head sizes that tensor cores do not take: everything in float, a warp
// for each (token, head), 32 keys at a time. A lane computes the score of one key, then all lanes
// add the 32 values, each its own elements of head_dim. The order of operations depends on the
// token's position alone. Nothing here is tuned: it is for small test models and for float.
#include <algorithm>

#include "kernels/cuda_attention_kernels.h"
#include "kernels/cuda_launch.cuh"
#include "kernels/cuda_tile.cuh"

namespace kernels {
namespace {

constexpr int kPageKeys = 16;
constexpr int kWarps = 4;
constexpr int kMaxHeadDim = 256;
constexpr int kElementsPerLane = kMaxHeadDim / kWarpSize;

// The last s with query_starts[s] <= token.
__device__ __forceinline__ int sequence_of(const CudaAttention& op, int token) {
  int low = 0;
  int high = op.num_sequences - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (op.query_starts[middle] <= token) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

template <class T>
__global__ void __launch_bounds__(kWarps* kWarpSize)
    plain_kernel(const __grid_constant__ CudaAttention op) {
  __shared__ float queries[kWarps][kMaxHeadDim];
  wait_for_inputs();
  let_next_start();
  const int lane = threadIdx.x % kWarpSize;
  const int warp = threadIdx.x / kWarpSize;
  const std::int64_t item = static_cast<std::int64_t>(blockIdx.x) * kWarps + warp;
  const int token = static_cast<int>(item / op.num_heads);
  const int head = static_cast<int>(item % op.num_heads);
  if (token >= op.num_tokens) return;
  const int sequence = sequence_of(op, token);
  const int context_len = op.context_lens[sequence];
  if (context_len == 0) return;

  const int num_keys = context_len - (op.query_starts[sequence + 1] - token) + 1;
  const int kv_head = head / (op.num_heads / op.num_kv_heads);
  const std::int32_t* blocks = op.block_tables + op.block_table_starts[sequence];
  const std::int64_t width =
      static_cast<std::int64_t>(op.num_heads + 2 * op.num_kv_heads) * op.head_dim;
  const T* q = static_cast<const T*>(op.qkv) + token * width + head * op.head_dim;
  const auto row_of = [&](const void* cache, int key) {
    const std::int64_t page =
        static_cast<std::int64_t>(blocks[key / kPageKeys]) * op.num_kv_heads + kv_head;
    return static_cast<const T*>(cache) + (page * kPageKeys + key % kPageKeys) * op.head_dim;
  };
  for (int i = lane; i < op.head_dim; i += kWarpSize) queries[warp][i] = as_float(q[i]);
  __syncwarp();

  float maximum = -INFINITY;
  float sum = 0;
  float o[kElementsPerLane] = {};
  for (int first_key = 0; first_key < num_keys; first_key += kWarpSize) {
    const int key = first_key + lane;
    float score = -INFINITY;
    if (key < num_keys) {
      const T* k = row_of(op.k_cache, key);
      float dot = 0;
      for (int i = 0; i < op.head_dim; ++i) dot = __fmaf_rn(queries[warp][i], as_float(k[i]), dot);
      score = dot * op.scale;
    }
    const float merged = fmaxf(maximum, warp_max(score));
    const float weight = expf(score - merged);
    const float keep = expf(maximum - merged);
    sum = __fmaf_rn(sum, keep, warp_sum(weight));
    for (float& element : o) element *= keep;
    maximum = merged;
    const int num_here = min(kWarpSize, num_keys - first_key);
    for (int j = 0; j < num_here; ++j) {
      const float weight_of_key = __shfl_sync(0xffffffffu, weight, j);
      const T* v = row_of(op.v_cache, first_key + j);
#pragma unroll
      for (int i = 0; i < kElementsPerLane; ++i) {
        const int element = lane + i * kWarpSize;
        if (element < op.head_dim) o[i] = __fmaf_rn(weight_of_key, as_float(v[element]), o[i]);
      }
    }
  }
  T* out = static_cast<T*>(op.out) +
           (static_cast<std::int64_t>(token) * op.num_heads + head) * op.head_dim;
#pragma unroll
  for (int i = 0; i < kElementsPerLane; ++i) {
    const int element = lane + i * kWarpSize;
    if (element < op.head_dim) out[element] = narrow<T>(o[i] / sum);
  }
}

template <class T>
void launch_for_type(const CudaAttention& op, Stream stream) {
  const std::int64_t num_warps = static_cast<std::int64_t>(op.num_tokens) * op.num_heads;
  launch(plain_kernel<T>, dim3(static_cast<unsigned>((num_warps + kWarps - 1) / kWarps)),
         dim3(kWarps * kWarpSize), 0, stream, op);
}

}  // namespace

void launch_attention_plain(const CudaAttention& op, Stream stream) {
  switch (op.type) {
    case DType::kF32:
      return launch_for_type<float>(op, stream);
    case DType::kF16:
      return launch_for_type<__half>(op, stream);
    default:
      return launch_for_type<__nv_bfloat16>(op, stream);
  }
}

}  // namespace kernels
