// Times the tensor-core linear layer at the shapes of a 1.5B Qwen2 in bf16, by number of tokens:
// each shape with the usual plan, the four of a layer in a row, and with `sweep` every tile and
// cut of k, to choose plans from. Weights rotate over more memory than the L2 holds.
//
//   gemm_cuda_bench [sweep | sweep-mma | sweep-warpgroups] [tokens ...]
#include <cuda_bf16.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "bench/kernels/cuda_timer.cuh"
#include "kernels/cuda_gemm.cuh"
#include "test/kernels/device_buffer.cuh"

using kernels::CudaLinear;
using kernels::GemmPlan;
using kernels::LinearOutput;
using testing::DeviceBuffer;

namespace {

constexpr double kReadGigabytes = 4338;  // a second, measured on an H200
constexpr double kTeraflops = 761;       // 8192^3 in bf16 there

struct Shape {
  const char* name;
  int n;
  int k;
  LinearOutput output;
};

constexpr Shape kLayer[] = {
    {"qkv", 2048, 1536, LinearOutput::kStore},
    {"o", 1536, 1536, LinearOutput::kAddResidual},
    {"gate_up", 17920, 1536, LinearOutput::kSwiGlu},
    {"down", 1536, 8960, LinearOutput::kAddResidual},
};
constexpr Shape kHead = {"head", 151936, 1536, LinearOutput::kLogits};
constexpr int kMostTokens = 4096;
constexpr int kMostHeadTokens = 256;
constexpr std::size_t kWeightBytes = std::size_t{480} << 20;  // 5 layers, or the head once

__global__ void fill_kernel(__nv_bfloat16* values, std::size_t count, float scale) {
  for (std::size_t i = blockIdx.x * 256 + threadIdx.x; i < count; i += gridDim.x * 256) {
    std::uint64_t bits = (i + 1) * 0x9e3779b97f4a7c15u;
    bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9u;
    bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebu;
    const float uniform = static_cast<float>(bits >> 40) / (1 << 24) - 0.5f;
    values[i] = __float2bfloat16_rn(uniform * scale);
  }
}

class Bench {
 public:
  Bench()
      : weights_(kWeightBytes / 2),
        x_(std::size_t{kMostTokens} * 8960),
        out_(std::size_t{kMostHeadTokens} * 151936 * 4),
        workspace_(kernels::cuda_gemm_workspace_bytes(kMostTokens, 8960, 151936)) {
    fill_kernel<<<1024, 256>>>(weights_.data(), weights_.size(), 0.07f);
    fill_kernel<<<1024, 256>>>(x_.data(), x_.size(), 2.0f);
    out_.clear();
    workspace_.clear();
    CUDA_CHECK(cudaDeviceSynchronize());
  }

  // Microseconds of one call, launched back to back.
  double time(const Shape& shape, int num_tokens, const GemmPlan* plan, bool is_batch_invariant) {
    const std::size_t size = static_cast<std::size_t>(shape.n) * shape.k;
    const int num_copies = static_cast<int>(weights_.size() / size);
    const double guess = 1e-3 * size / 4 + 2e-9 * size * num_tokens / 400 + 3;
    const int calls = std::max(4, std::min(100, static_cast<int>(1500 / guess)));
    return bench::median_microseconds(calls, 5, [&](cudaStream_t stream, int i) {
      CudaLinear op = operator_of(shape, num_tokens, is_batch_invariant);
      op.weight = weights_.data() + size * (i % num_copies);
      run(op, plan, stream);
    });
  }

  // Microseconds of the four products of a layer, one layer after the other.
  double time_layer(int num_tokens, bool is_batch_invariant) {
    const int num_layers = num_tokens > 512 ? 3 : 20;
    return bench::median_microseconds(num_layers, 5, [&](cudaStream_t stream, int layer) {
      std::size_t place = (layer % 5) * std::size_t{46792704};
      for (const Shape& shape : kLayer) {
        CudaLinear op = operator_of(shape, num_tokens, is_batch_invariant);
        op.weight = weights_.data() + place;
        place += static_cast<std::size_t>(shape.n) * shape.k;
        run(op, nullptr, stream);
      }
    });
  }

 private:
  CudaLinear operator_of(const Shape& shape, int num_tokens, bool is_batch_invariant) const {
    CudaLinear op{};
    op.out = out_.data();
    op.x = x_.data();
    op.bias = shape.output == LinearOutput::kStore ? x_.data() : nullptr;
    op.type = kernels::DType::kBF16;
    op.output = shape.output;
    op.numerics = kernels::Numerics::kFast;
    op.is_batch_invariant = is_batch_invariant;
    op.num_tokens = num_tokens;
    op.in_features = shape.k;
    op.out_features = shape.n;
    op.x_stride = shape.k;
    op.out_stride = shape.output == LinearOutput::kSwiGlu ? shape.n / 2 : shape.n;
    op.workspace = workspace_.data();
    return op;
  }

  static void run(const CudaLinear& op, const GemmPlan* plan, cudaStream_t stream) {
    if (plan != nullptr) {
      kernels::cuda_gemm_as_planned(op, *plan, stream);
    } else {
      kernels::cuda_gemm(op, stream);
    }
  }

  DeviceBuffer<__nv_bfloat16> weights_;
  DeviceBuffer<__nv_bfloat16> x_;
  DeviceBuffer<unsigned char> out_;
  DeviceBuffer<unsigned char> workspace_;
};

double bytes_of(const Shape& shape, int num_tokens) {
  const double out = shape.output == LinearOutput::kLogits   ? 4.0 * shape.n
                     : shape.output == LinearOutput::kSwiGlu ? 1.0 * shape.n
                                                             : 2.0 * shape.n;
  return 2.0 * shape.n * shape.k + num_tokens * (2.0 * shape.k + out);
}

double microseconds_at_ceiling(const Shape& shape, int num_tokens) {
  const double memory = bytes_of(shape, num_tokens) / kReadGigabytes / 1e3;
  const double arithmetic = 2.0 * shape.n * shape.k * num_tokens / kTeraflops / 1e6;
  return std::max(memory, arithmetic);
}

void print(const Shape& shape, int num_tokens, const GemmPlan& plan, double microseconds,
           const char* remark) {
  std::printf("%-8s M=%-5d %s tile %2d splits %2d: %8.2f us %6.0f GB/s %6.1f TFLOP/s %3.0f%%%s\n",
              shape.name, num_tokens, plan.uses_warpgroups ? "wgmma" : "mma", plan.tile,
              plan.num_splits, microseconds, bytes_of(shape, num_tokens) / microseconds / 1e3,
              2.0 * shape.n * shape.k * num_tokens / microseconds / 1e6,
              100 * microseconds_at_ceiling(shape, num_tokens) / microseconds, remark);
}

struct Result {
  double microseconds;
  GemmPlan plan;
};

// Times a tile with the cuts of k that make for 1, 2, 3 and 4 blocks a multiprocessor.
template <class Tile>
void sweep_tile(Bench& bench, const Shape& shape, int num_tokens, const Tile& tile, GemmPlan plan,
                bool may_split, std::vector<Result>& results) {
  const bool is_too_wide = tile.tokens >= 2 * num_tokens && tile.tokens > 8;
  const bool is_too_narrow = tile.tokens < 128 && tile.tokens * 2 < num_tokens;
  if (is_too_wide || is_too_narrow) return;
  const int num_tiles =
      ((shape.n + tile.rows - 1) / tile.rows) * ((num_tokens + tile.tokens - 1) / tile.tokens);
  const int most = may_split ? std::min(kernels::kMaxSplits, shape.k / kernels::kGemmStep / 2) : 1;
  for (const int wanted_blocks : {0, 132, 264, 396, 528}) {
    const int num_splits = std::max(1, std::min(wanted_blocks / num_tiles, most));
    if (num_splits == plan.num_splits) continue;
    plan.num_splits = num_splits;
    results.push_back({bench.time(shape, num_tokens, &plan, false), plan});
  }
}

// The fastest plans for a shape, of either kernel.
void sweep(Bench& bench, const Shape& shape, int num_tokens, bool has_mma, bool has_warpgroups) {
  for (const bool uses_warpgroups : {false, true}) {
    if (!(uses_warpgroups ? has_warpgroups && kernels::has_warpgroups() : has_mma)) continue;
    std::vector<Result> results;
    const int num_tiles = uses_warpgroups ? kernels::kNumWarpgroupTiles : kernels::kNumMmaTiles;
    for (int tile = 0; tile < num_tiles; ++tile) {
      const GemmPlan plan{uses_warpgroups, tile, 0};
      if (uses_warpgroups) {
        const kernels::WarpgroupTile& sizes = kernels::kWarpgroupTiles[tile];
        sweep_tile(bench, shape, num_tokens, sizes, plan, !sizes.is_paired, results);
      } else {
        sweep_tile(bench, shape, num_tokens, kernels::kMmaTiles[tile], plan, true, results);
      }
    }
    std::sort(results.begin(), results.end(),
              [](const Result& a, const Result& b) { return a.microseconds < b.microseconds; });
    for (std::size_t i = 0; i < results.size() && i < (uses_warpgroups ? 4 : 2); ++i) {
      print(shape, num_tokens, results[i].plan, results[i].microseconds, i == 0 ? " best" : "");
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (!testing::has_device()) return 0;
  bool sweeps_mma = false;
  bool sweeps_warpgroups = false;
  std::vector<int> tokens;
  for (int i = 1; i < argc; ++i) {
    const bool is_both = std::strcmp(argv[i], "sweep") == 0;
    const bool is_mma = is_both || std::strcmp(argv[i], "sweep-mma") == 0;
    const bool is_warpgroups = is_both || std::strcmp(argv[i], "sweep-warpgroups") == 0;
    sweeps_mma = sweeps_mma || is_mma;
    sweeps_warpgroups = sweeps_warpgroups || is_warpgroups;
    if (!is_mma && !is_warpgroups) tokens.push_back(std::atoi(argv[i]));
  }
  if (tokens.empty()) tokens = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096};
  Bench bench;
  for (const int num_tokens : tokens) {
    for (int i = 0; i < 5; ++i) {
      const Shape& shape = i < 4 ? kLayer[i] : kHead;
      if (i == 4 && num_tokens > kMostHeadTokens) continue;
      sweep(bench, shape, num_tokens, sweeps_mma, sweeps_warpgroups);
      if (sweeps_mma && !sweeps_warpgroups) continue;
      const GemmPlan plan = kernels::plan_gemm(num_tokens, shape.k, shape.n, false);
      print(shape, num_tokens, plan, bench.time(shape, num_tokens, nullptr, false), " as planned");
    }
    std::fflush(stdout);
    if (sweeps_mma && !sweeps_warpgroups) continue;
    std::printf("layer    M=%-5d %8.2f us, %8.2f us batch-invariant\n", num_tokens,
                bench.time_layer(num_tokens, false), bench.time_layer(num_tokens, true));
    std::fflush(stdout);
  }
  return 0;
}
