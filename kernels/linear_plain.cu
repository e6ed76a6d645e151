#include "kernels/cuda_plain.cuh"
#include "kernels/linear_plain.h"

// Float multiply-adds on the ordinary units for all three types: the tensor cores' TF32 would drop
// half of a float, and sums in f16 would be wrong everywhere.
namespace kernels {
namespace {

// ---- many tokens: tiles ----
//
// A block computes kTokens x kFeatures of the output, k in slabs of kDepth that go through shared
// memory as floats; a thread has kSide x kSide sums. Each is summed over k in ascending order.
template <int tokens, int features, int depth>
struct Tile {
  static constexpr int kTokens = tokens;
  static constexpr int kFeatures = features;
  static constexpr int kDepth = depth;
  static constexpr int kSide = 4;
  static constexpr int kThreads = tokens / kSide * (features / kSide);
  // Rows of a slab are this far apart, so that a warp's transposing stores spread over the banks
  // and its loads of four stay aligned.
  static constexpr int kTokenStride = tokens + 4;
  static constexpr int kFeatureStride = features + 4;
};

using PlainTile = Tile<64, 64, 16>;

// slab[k, r] = source[first_row + r, first_k + k], zero outside.
template <class Tile, int kRows, int kStride, typename T>
__device__ __forceinline__ void load_slab(float (&slab)[Tile::kDepth * kStride], const T* source,
                                          int first_row, int num_rows, int first_k, int num_k) {
  static_assert(kRows * Tile::kDepth % Tile::kThreads == 0, "every thread loads as many");
#pragma unroll
  for (int i = 0; i < kRows * Tile::kDepth / Tile::kThreads; ++i) {
    const int element = i * Tile::kThreads + threadIdx.x;
    const int row = element / Tile::kDepth;
    const int k = element % Tile::kDepth;
    const bool is_inside = row < num_rows - first_row && k < num_k - first_k;
    const std::int64_t at = static_cast<std::int64_t>(first_row + row) * num_k + first_k + k;
    slab[k * kStride + row] = is_inside ? as_float(source[at]) : 0.0f;
  }
}

template <class Tile, typename T>
__global__ void __launch_bounds__(Tile::kThreads)
    linear_tile_kernel(const __grid_constant__ PlainLinear op) {
  constexpr int kSide = Tile::kSide;
  __shared__ __align__(16) float x_slab[Tile::kDepth * Tile::kTokenStride];
  __shared__ __align__(16) float weight_slab[Tile::kDepth * Tile::kFeatureStride];
  wait_for_inputs();
  const int num_feature_tiles = (op.out_features - 1) / Tile::kFeatures + 1;
  const int first_token = blockIdx.x / num_feature_tiles * Tile::kTokens;
  const int first_feature = blockIdx.x % num_feature_tiles * Tile::kFeatures;
  const int token = threadIdx.x / (Tile::kFeatures / kSide) * kSide;
  const int feature = threadIdx.x % (Tile::kFeatures / kSide) * kSide;

  float sums[kSide][kSide] = {};
  for (int first_k = 0; first_k < op.in_features; first_k += Tile::kDepth) {
    load_slab<Tile, Tile::kTokens, Tile::kTokenStride>(
        x_slab, static_cast<const T*>(op.x), first_token, op.num_tokens, first_k, op.in_features);
    load_slab<Tile, Tile::kFeatures, Tile::kFeatureStride>(
        weight_slab, static_cast<const T*>(op.weight), first_feature, op.out_features, first_k,
        op.in_features);
    __syncthreads();
#pragma unroll
    for (int k = 0; k < Tile::kDepth; ++k) {
      const float4 x = *reinterpret_cast<float4*>(&x_slab[k * Tile::kTokenStride + token]);
      const float4 w = *reinterpret_cast<float4*>(&weight_slab[k * Tile::kFeatureStride + feature]);
      const float xs[kSide] = {x.x, x.y, x.z, x.w};
      const float ws[kSide] = {w.x, w.y, w.z, w.w};
#pragma unroll
      for (int i = 0; i < kSide; ++i) {
#pragma unroll
        for (int j = 0; j < kSide; ++j) sums[i][j] = fmaf(xs[i], ws[j], sums[i][j]);
      }
    }
    __syncthreads();
  }

  const T* bias = static_cast<const T*>(op.bias);
  T* out = static_cast<T*>(op.out);
#pragma unroll
  for (int i = 0; i < kSide; ++i) {
    const int t = first_token + token + i;
    if (t >= op.num_tokens) break;
#pragma unroll
    for (int j = 0; j < kSide; ++j) {
      const int o = first_feature + feature + j;
      if (o >= op.out_features) break;
      const float sum = bias != nullptr ? sums[i][j] + as_float(bias[o]) : sums[i][j];
      out[static_cast<std::int64_t>(t) * op.out_features + o] = narrow<T>(sum);
    }
  }
}

// ---- few tokens: a warp reads a row of the weight once for all of them ----

constexpr int kFewTokens = 8;
constexpr int kRowWarps = 8;

// kTokens is 1 or kFewTokens; the last token stands in for those that are not there.
template <int kTokens, typename T>
__global__ void __launch_bounds__(kRowWarps* kWarpSize)
    linear_rows_kernel(const __grid_constant__ PlainLinear op) {
  wait_for_inputs();
  const int o = blockIdx.x * kRowWarps + threadIdx.x / kWarpSize;
  if (o >= op.out_features) return;
  const T* row = static_cast<const T*>(op.weight) + static_cast<std::int64_t>(o) * op.in_features;
  const T* x[kTokens];
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    x[t] = static_cast<const T*>(op.x) +
           static_cast<std::int64_t>(min(t, op.num_tokens - 1)) * op.in_features;
  }
  float sums[kTokens] = {};
#pragma unroll 4
  for (int k = threadIdx.x % kWarpSize; k < op.in_features; k += kWarpSize) {
    const float weight = as_float(row[k]);
#pragma unroll
    for (int t = 0; t < kTokens; ++t) sums[t] = fmaf(as_float(x[t][k]), weight, sums[t]);
  }
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    float sum = warp_sum(sums[t]);
    if (op.bias != nullptr) sum += as_float(static_cast<const T*>(op.bias)[o]);
    if (threadIdx.x % kWarpSize == 0 && t < op.num_tokens) {
      static_cast<T*>(op.out)[static_cast<std::int64_t>(t) * op.out_features + o] = narrow<T>(sum);
    }
  }
}

template <typename T>
void launch_linear(const PlainLinear& op, Stream stream) {
  if (op.num_tokens <= kFewTokens) {
    launch(op.num_tokens == 1 ? linear_rows_kernel<1, T> : linear_rows_kernel<kFewTokens, T>,
           (op.out_features - 1) / kRowWarps + 1, kRowWarps * kWarpSize, 0, stream, op);
    return;
  }
  const std::int64_t num_tiles =
      (static_cast<std::int64_t>(op.num_tokens - 1) / PlainTile::kTokens + 1) *
      ((op.out_features - 1) / PlainTile::kFeatures + 1);
  CHECK(num_tiles <= INT32_MAX, "linear: " + std::to_string(op.num_tokens) + " tokens times " +
                                    std::to_string(op.out_features) +
                                    " features are more than one call can hold; split the tokens");
  launch(linear_tile_kernel<PlainTile, T>, static_cast<unsigned>(num_tiles), PlainTile::kThreads, 0,
         stream, op);
}

}  // namespace

void linear_plain_cuda(const PlainLinear& op, Stream stream) {
  check_linear_plain(op);
  with_device_type(op.type, "linear", [&](auto zero) {
    if (op.num_tokens > 0) launch_linear<decltype(zero)>(op, stream);
  });
}

}  // namespace kernels
