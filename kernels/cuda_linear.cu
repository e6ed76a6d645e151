#include <string>

#include "kernels/cuda_gemm.h"
#include "kernels/cuda_gemv.h"
#include "kernels/cuda_launch.cuh"
#include "kernels/cuda_linear.h"
#include "kernels/cuda_norm.h"
#include "kernels/cuda_tile.cuh"

namespace kernels {
namespace {

// ---- kF32: every product a float multiply-add, the sum over k in ascending order ----

// A block computes 64 features of 16 * kRows tokens, thread (tx, ty) features tx, tx + 16, .. of
// tokens ty, ty + 16, ..: gate and up of a kSwiGlu layer, 16 rows of W apart, meet in one thread.
inline constexpr int kSide = 16;
inline constexpr int kColumns = 4;
inline constexpr int kTileFeatures = kSide * kColumns;
inline constexpr int kTileK = 16;
static_assert(kSide == kGateUpGroup, "gate and up would not meet in one thread");

__device__ void write_float(const CudaLinear& op, std::int64_t token, int first_feature,
                            const float (&y)[kColumns]) {
  float* out = static_cast<float*>(op.out) + token * op.out_stride;
#pragma unroll
  for (int c = 0; c < kColumns; ++c) {
    const int feature = first_feature + c * kSide;
    if (feature >= op.out_features) return;
    if (op.output == LinearOutput::kSwiGlu) {
      if (c % 2 != 0) continue;
      const int pair = feature / (2 * kSide) * kSide + feature % kSide;
      out[pair] = y[c] / (1.0f + expf(-y[c])) * y[c + 1];
    } else if (op.output == LinearOutput::kAddResidual) {
      out[feature] = __ldcg(out + feature) + y[c];
    } else {
      out[feature] = y[c];
    }
  }
}

template <int kRows>
__global__ void __launch_bounds__(kSide* kSide)
    linear_f32_kernel(const __grid_constant__ CudaLinear op) {
  __shared__ float weight_tile[kTileFeatures][kTileK + 1];  // one more against bank conflicts
  __shared__ float x_tile[kSide * kRows][kTileK + 1];
  let_next_start();
  wait_for_inputs();
  const int tx = threadIdx.x;
  const int ty = threadIdx.y;
  const int first_feature = blockIdx.x * kTileFeatures;
  const int first_token = blockIdx.y * kSide * kRows;
  const float* weight = static_cast<const float*>(op.weight);
  const float* x = static_cast<const float*>(op.x);
  float sums[kRows][kColumns] = {};
  for (int k0 = 0; k0 < op.in_features; k0 += kTileK) {
    const bool has_k = k0 + tx < op.in_features;
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const int feature = first_feature + c * kSide + ty;
      const bool is_inside = has_k && feature < op.out_features;
      weight_tile[c * kSide + ty][tx] =
          is_inside ? weight[std::int64_t{feature} * op.in_features + k0 + tx] : 0;
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const int token = first_token + r * kSide + ty;
      const bool is_inside = has_k && token < op.num_tokens;
      x_tile[r * kSide + ty][tx] = is_inside ? __ldcg(x + token * op.x_stride + k0 + tx) : 0;
    }
    __syncthreads();
    for (int k = 0; k < kTileK; ++k) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
#pragma unroll
        for (int c = 0; c < kColumns; ++c) {
          sums[r][c] = fmaf(x_tile[r * kSide + ty][k], weight_tile[c * kSide + tx][k], sums[r][c]);
        }
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const int token = first_token + r * kSide + ty;
    if (token >= op.num_tokens) return;
    if (op.bias != nullptr) {
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        const int feature = first_feature + c * kSide + tx;
        if (feature < op.out_features) sums[r][c] += static_cast<const float*>(op.bias)[feature];
      }
    }
    write_float(op, token, first_feature + tx, sums[r]);
  }
}

template <int kRows>
void launch_f32(const CudaLinear& op, Stream stream) {
  const int tokens = kSide * kRows;
  const dim3 grid(static_cast<unsigned>((op.out_features + kTileFeatures - 1) / kTileFeatures),
                  static_cast<unsigned>((op.num_tokens + tokens - 1) / tokens));
  launch(linear_f32_kernel<kRows>, grid, dim3(kSide, kSide), 0, stream, op);
}

// ---- dispatch ----

void check(const CudaLinear& op) {
  const bool is_f32 = op.type == DType::kF32;
  CHECK(is_f32 || op.type == DType::kF16 || op.type == DType::kBF16,
        std::string("cuda_linear: type ") + name_of(op.type) +
            " is not supported; use f32, f16 or bf16");
  CHECK(op.in_features > 0 && (is_f32 || op.in_features % 8 == 0),
        "cuda_linear: in_features " + std::to_string(op.in_features) +
            " is not a multiple of 8 above 0");
  CHECK(is_f32 || op.x_stride % 8 == 0,
        "cuda_linear: x_stride " + std::to_string(op.x_stride) + " is not a multiple of 8");
  const int multiple = op.output == LinearOutput::kSwiGlu ? 2 * kGateUpGroup : 1;
  CHECK(op.out_features > 0 && op.out_features % multiple == 0,
        "cuda_linear: out_features " + std::to_string(op.out_features) + " is not a multiple of " +
            std::to_string(multiple) + " above 0");
  CHECK(op.num_tokens >= 0,
        "cuda_linear: num_tokens " + std::to_string(op.num_tokens) + " is negative");
}

// Where the normalised x of a call stands in the workspace: behind what cuda_gemm() uses for this
// call. Its counters lie in front of everything that depends on the size of a call, so that no x
// of another call is ever written over them.
std::size_t norm_offset(int num_tokens, int in_features, int out_features) {
  const std::size_t bytes = cuda_gemm_workspace_bytes(num_tokens, in_features, out_features);
  return (bytes + 255) / 256 * 256;
}

// The layer with its norm already applied: x stands in the workspace.
CudaLinear with_norm_applied(const CudaLinear& op, Stream stream) {
  CudaNorm norm{};
  norm.out = static_cast<char*>(op.workspace) +
             norm_offset(op.num_tokens, op.in_features, op.out_features);
  norm.x = op.x;
  norm.weight = op.norm_weight;
  norm.epsilon = op.norm_epsilon;
  norm.type = op.type;
  norm.numerics = op.numerics;
  norm.num_tokens = op.num_tokens;
  norm.num_groups = 1;
  norm.group_size = op.in_features;
  norm.x_stride = op.x_stride;
  norm.out_stride = op.in_features;
  cuda_norm(norm, stream);
  CudaLinear linear = op;
  linear.x = norm.out;
  linear.x_stride = norm.out_stride;
  linear.norm_weight = nullptr;
  return linear;
}

}  // namespace

std::size_t cuda_linear_workspace_bytes(int max_tokens, int max_in_features, int max_out_features) {
  return norm_offset(max_tokens, max_in_features, max_out_features) +
         static_cast<std::size_t>(max_tokens) * max_in_features * sizeof(float);
}

void cuda_linear(const CudaLinear& op, Stream stream) {
  check(op);
  if (op.num_tokens == 0) return;
  if (gemv_takes(op)) return cuda_gemv(op, stream);
  const CudaLinear linear = op.norm_weight != nullptr ? with_norm_applied(op, stream) : op;
  if (op.type != DType::kF32) return cuda_gemm(linear, stream);
  // Both give the same bits: a sum over k has one order.
  return op.num_tokens <= kSide ? launch_f32<1>(linear, stream) : launch_f32<4>(linear, stream);
}

}  // namespace kernels
