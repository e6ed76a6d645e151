// A block has one query of one head; its warps take keys in turn, kKeysAtOnce at a time so that as
// many loads are under way, each with an online softmax of its own. At the end the warps' maxima,
// sums and weighted values are merged.
#include "kernels/attention_tile.h"
#include "kernels/cuda_plain.cuh"
#include "kernels/self_attention.h"

namespace kernels {
namespace {

constexpr int kWarps = 8;
constexpr int kKeysAtOnce = 4;

// Element i of a lane is element i * 32 + lane of a head; kPerLane * 32 is at least head_dim and
// value_dim.
template <int kPerLane>
struct Softmax {
  float out[kPerLane];  // sum of weight * value, not yet divided by sum
  float maximum;
  float sum;
};

// What exp is taken relative to. When nothing but -infinity has been seen that would be NaN.
__device__ __forceinline__ float finite_base(float maximum) {
  return maximum == -INFINITY ? 0.0f : maximum;
}

// A head's elements, zero from `width` on.
template <int kPerLane, typename T>
__device__ __forceinline__ void load_head(float (&head)[kPerLane], const T* from, int width,
                                          int lane) {
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int d = i * kWarpSize + lane;
    head[i] = d < width ? as_float(from[d]) : 0.0f;
  }
}

// Keys [first, first + kKeysAtOnce), those from num_keys on left out. All loads come first: behind
// a branch each would wait for the one before.
template <int kPerLane, typename T>
__device__ __forceinline__ void attend_keys(const SelfAttention& op, const T* k, const T* v,
                                            const float (&query)[kPerLane], int lane,
                                            unsigned first, unsigned num_keys,
                                            Softmax<kPerLane>& softmax) {
  float keys[kKeysAtOnce][kPerLane];
  float values[kKeysAtOnce][kPerLane];
#pragma unroll
  for (int n = 0; n < kKeysAtOnce; ++n) {
    // The last key stands in for those that are not there.
    const std::int64_t key = first + n < num_keys ? first + n : num_keys - 1;
    load_head(keys[n], k + key * op.k_stride, op.head_dim, lane);
    load_head(values[n], v + key * op.v_stride, op.value_dim, lane);
  }
  float scores[kKeysAtOnce];
  float maximum = softmax.maximum;
#pragma unroll
  for (int n = 0; n < kKeysAtOnce; ++n) {
    float dot = 0;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) dot = fmaf(query[i], keys[n][i], dot);
    scores[n] = warp_sum(dot) * op.scale;
    if (first + n >= num_keys) scores[n] = -INFINITY;
    // Not fmaxf, which would lose a NaN; one in a score must reach the output.
    maximum = scores[n] > maximum || isnan(scores[n]) ? scores[n] : maximum;
  }
  const float base = finite_base(maximum);
  const float rescale = expf(softmax.maximum - base);
  softmax.maximum = maximum;
  softmax.sum *= rescale;
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) softmax.out[i] *= rescale;
#pragma unroll
  for (int n = 0; n < kKeysAtOnce; ++n) {
    // No weight of 0 instead: times an infinite value it would be NaN.
    if (first + n >= num_keys) break;
    const float weight = expf(scores[n] - base);
    softmax.sum += weight;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      softmax.out[i] = fmaf(weight, values[n][i], softmax.out[i]);
    }
  }
}

// Merges the warps' results in the order of the warps and writes the row.
template <int kPerLane, typename T>
__device__ __forceinline__ void write_merged(const Softmax<kPerLane>& softmax, T* out,
                                             int value_dim) {
  __shared__ float outs[kWarps][kPerLane * kWarpSize];
  __shared__ float maxima[kWarps];
  __shared__ float sums[kWarps];
  const int warp = threadIdx.x / kWarpSize;
  const int lane = threadIdx.x % kWarpSize;
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) outs[warp][i * kWarpSize + lane] = softmax.out[i];
  if (lane == 0) {
    maxima[warp] = softmax.maximum;
    sums[warp] = softmax.sum;
  }
  __syncthreads();
  float maximum = -INFINITY;
  for (int w = 0; w < kWarps; ++w) maximum = fmaxf(maximum, maxima[w]);
  const float base = finite_base(maximum);
  float sum = 0;
  for (int w = 0; w < kWarps; ++w) sum += sums[w] * expf(maxima[w] - base);
  for (int d = threadIdx.x; d < value_dim; d += kWarps * kWarpSize) {
    float total = 0;
    for (int w = 0; w < kWarps; ++w) total += outs[w][d] * expf(maxima[w] - base);
    out[d] = narrow<T>(total / sum);
  }
}

template <int kPerLane, typename T>
__global__ void __launch_bounds__(kWarps* kWarpSize)
    self_attention_kernel(const __grid_constant__ SelfAttention op) {
  wait_for_inputs();
  const int head = blockIdx.x % op.num_heads;
  const int token = blockIdx.x / op.num_heads;
  const int kv_head = head / (op.num_heads / op.num_kv_heads);
  const int warp = threadIdx.x / kWarpSize;
  const int lane = threadIdx.x % kWarpSize;
  const T* q = static_cast<const T*>(op.q) + token * op.q_stride +
               static_cast<std::int64_t>(head) * op.head_dim;
  const T* k = static_cast<const T*>(op.k) + static_cast<std::int64_t>(kv_head) * op.head_dim;
  const T* v = static_cast<const T*>(op.v) + static_cast<std::int64_t>(kv_head) * op.value_dim;

  float query[kPerLane];
  load_head(query, q, op.head_dim, lane);
  const unsigned num_keys = token + op.kv_len - op.query_len + 1;
  Softmax<kPerLane> softmax = {{}, -INFINITY, 0};
  for (unsigned first = warp * kKeysAtOnce; first < num_keys; first += kWarps * kKeysAtOnce) {
    attend_keys(op, k, v, query, lane, first, num_keys, softmax);
  }
  write_merged(softmax,
               static_cast<T*>(op.out) + token * op.out_stride +
                   static_cast<std::int64_t>(head) * op.value_dim,
               op.value_dim);
}

template <int kPerLane, typename T>
void launch_attention(const SelfAttention& op, Stream stream) {
  launch(self_attention_kernel<kPerLane, T>, op.query_len * op.num_heads, kWarps * kWarpSize, 0,
         stream, op);
}

}  // namespace

void self_attention_cuda(const SelfAttention& op, Stream stream) {
  check_self_attention(op);
  with_device_type(op.type, "self_attention", [&](auto zero) {
    using T = decltype(zero);
    if (op.query_len == 0) return;
    CHECK(op.query_len <= INT32_MAX / op.num_heads,
          "self_attention: query_len " + std::to_string(op.query_len) + " times num_heads " +
              std::to_string(op.num_heads) + " is more than one call can hold; split the queries");
    const int width = std::max(op.head_dim, op.value_dim);
    if (width <= 2 * kWarpSize) return launch_attention<2, T>(op, stream);
    if (width <= 4 * kWarpSize) return launch_attention<4, T>(op, stream);
    launch_attention<kMaxHeadDim / kWarpSize, T>(op, stream);
  });
}

}  // namespace kernels
