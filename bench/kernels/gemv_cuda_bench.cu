// The linear layers of one decode step for one to four tokens, in the shape of Qwen2 1.5B.
//
//   alone   one layer's linear after another of the same kind, through 28 layers of weights
//   step    all linears of 28 layers and the head as one CUDA graph, each reading what the one in
//           front wrote; 3.09 GB of weights, so nothing is left in a cache from step to step
//   + wait  the same with a stand-in for attention: a few blocks that take 4 us
//
// Every table line is one choice of tiles; the first is what the engine uses.
#include <cstdio>
#include <string>
#include <vector>

#include "bench/kernels/cuda_timer.cuh"
#include "kernels/cuda_gemv.cuh"
#include "kernels/cuda_linear.h"

namespace {

using kernels::CudaLinear;
using kernels::LinearOutput;
using kernels::Stream;
using kernels::gemv::Tile;
using Bf16 = __nv_bfloat16;

constexpr int kNumLayers = 28;
constexpr int kMaxTokens = 4;
constexpr double kReadRate = 4.338e12;  // bytes a second, measured on an H200

struct Shape {
  const char* name;
  int out_features;
  int in_features;
  LinearOutput output;
  bool has_norm;
  bool has_bias;

  std::size_t count() const { return std::size_t(out_features) * in_features; }
};

enum Part { kQkv, kO, kGateUp, kDown, kHead, kNumParts };

constexpr Shape kShapes[kNumParts] = {
    {"qkv", 2048, 1536, LinearOutput::kStore, true, true},
    {"o", 1536, 1536, LinearOutput::kAddResidual, false, false},
    {"gate+up", 17920, 1536, LinearOutput::kSwiGlu, true, false},
    {"down", 1536, 8960, LinearOutput::kAddResidual, false, false},
    {"head", 151936, 1536, LinearOutput::kLogits, true, false},
};

__global__ void fill_kernel(Bf16* values, std::size_t count, float span) {
  const std::size_t step = std::size_t(gridDim.x) * blockDim.x;
  for (std::size_t i = std::size_t(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
    std::uint32_t h = static_cast<std::uint32_t>(i) * 2654435761u;
    h = (h ^ (h >> 15)) * 2246822519u;
    h ^= h >> 13;
    values[i] = __float2bfloat16_rn((static_cast<float>(h) * 0x1p-31f - 1.0f) * span);
  }
}

// Attention's place in the chain: it takes its time whatever the memory does.
__global__ void wait_kernel(int nanoseconds) {
  kernels::let_next_start();
  kernels::wait_for_inputs();
  std::uint64_t begin;
  std::uint64_t now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(begin));
  do {
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
  } while (now - begin < static_cast<std::uint64_t>(nanoseconds));
}

// How a part is run: the engine's own choice, or one tile.
struct Choice {
  std::string name;
  void (*launch)(const CudaLinear&, Stream);
};

template <class Tile>
void launch_choice(const CudaLinear& op, Stream stream) {
  kernels::gemv::launch_tile<Bf16, 1, Tile>(op, kernels::device_traits().num_multiprocessors,
                                            stream);
}

template <class Tile>
Choice choice() {
  return {"<" + std::to_string(Tile::kRows) + "," + std::to_string(Tile::kWarpsK) + "," +
              std::to_string(Tile::kWarpsN) + "," + std::to_string(Tile::kStages) + ">",
          launch_choice<Tile>};
}

const Choice kEngine = {"engine", kernels::cuda_linear};

class Model {
 public:
  Model() {
    for (int part = 0; part < kNumParts; ++part) {
      const int copies = part == kHead ? 1 : kNumLayers;
      weights_[part] = random(kShapes[part].count() * copies, 0.03f);
    }
    ones_ = random(kMaxTokens * 17920, 1);
    hidden_ = random(kMaxTokens * 1536, 1);
    heads_ = random(kMaxTokens * 2048, 1);
    inner_ = random(kMaxTokens * 8960, 1);
    CUDA_CHECK(cudaMalloc(&logits_, kMaxTokens * 151936 * sizeof(float)));
    const std::size_t bytes = kernels::cuda_linear_workspace_bytes(kMaxTokens, 8960, 151936);
    CUDA_CHECK(cudaMalloc(&workspace_, bytes));
    CUDA_CHECK(cudaMemset(workspace_, 0, bytes));
    CUDA_CHECK(cudaDeviceSynchronize());
  }

  void enqueue(int part, int layer, int num_tokens, const Choice& choice, Stream stream) const {
    const Shape& shape = kShapes[part];
    CudaLinear op{};
    op.weight = weights_[part] + shape.count() * (part == kHead ? 0 : layer);
    op.bias = shape.has_bias ? ones_ : nullptr;
    op.norm_weight = shape.has_norm ? ones_ : nullptr;
    op.norm_epsilon = 1e-6f;
    op.type = kernels::DType::kBF16;
    op.output = shape.output;
    op.num_tokens = num_tokens;
    op.in_features = shape.in_features;
    op.out_features = shape.out_features;
    op.x = part == kO ? heads_ : part == kDown ? inner_ : hidden_;
    op.x_stride = part == kO ? 2048 : shape.in_features;
    op.out = part == kQkv      ? static_cast<void*>(heads_)
             : part == kGateUp ? static_cast<void*>(inner_)
             : part == kHead   ? static_cast<void*>(logits_)
                               : static_cast<void*>(hidden_);
    op.out_stride = part == kGateUp ? 8960 : shape.out_features;
    op.workspace = workspace_;
    choice.launch(op, stream);
  }

 private:
  static Bf16* random(std::size_t count, float span) {
    Bf16* values;
    CUDA_CHECK(cudaMalloc(&values, count * sizeof(Bf16)));
    fill_kernel<<<2048, 256>>>(values, count, span);
    CUDA_CHECK(cudaGetLastError());
    return values;
  }

  Bf16* weights_[kNumParts];
  Bf16 *ones_, *hidden_, *heads_, *inner_;
  float* logits_;
  void* workspace_;
};

using Choices = std::vector<Choice>;  // one for each part

double step_microseconds(const Model& model, const Choices& choices, int num_tokens, int wait_ns) {
  return bench::median_microseconds(1, 15, [&](Stream stream, int) {
    for (int layer = 0; layer < kNumLayers; ++layer) {
      for (const int part : {kQkv, kO, kGateUp, kDown}) {
        if (part == kO && wait_ns > 0) {
          kernels::launch(wait_kernel, dim3(16), dim3(128), 0, stream, wait_ns);
        }
        model.enqueue(part, layer, num_tokens, choices[part], stream);
      }
    }
    model.enqueue(kHead, 0, num_tokens, choices[kHead], stream);
  });
}

double alone_microseconds(const Model& model, int part, const Choice& choice, int num_tokens) {
  const int calls = part == kHead ? 4 : kNumLayers;
  return bench::median_microseconds(
      calls, 15, [&](Stream stream, int i) { model.enqueue(part, i, num_tokens, choice, stream); });
}

void print_alone(const Model& model, int part, const Choice& choice, int num_tokens) {
  const double us = alone_microseconds(model, part, choice, num_tokens);
  const double bytes = 2.0 * static_cast<double>(kShapes[part].count());
  std::printf("alone %-8s M=%d %-14s %8.2f us %7.0f GB/s %5.1f %%\n", kShapes[part].name,
              num_tokens, choice.name.c_str(), us, bytes / us * 1e-3,
              100 * bytes / kReadRate / us * 1e6);
}

void print_step(const Model& model, const Choices& choices, int num_tokens,
                const std::string& name) {
  double bytes = 0;
  for (int part = 0; part < kNumParts; ++part) {
    bytes += 2.0 * static_cast<double>(kShapes[part].count()) * (part == kHead ? 1 : kNumLayers);
  }
  const double us = step_microseconds(model, choices, num_tokens, 0);
  const double waiting = step_microseconds(model, choices, num_tokens, 4000);
  std::printf("step M=%d %-28s %7.1f us %5.1f %%   + wait %7.1f us\n", num_tokens, name.c_str(), us,
              100 * bytes / kReadRate / us * 1e6, waiting);
}

// Tiles worth trying, part by part, one token.
std::vector<Choices> candidates() {
  return {
      {choice<Tile<8, 6, 1, 2>>(), choice<Tile<4, 6, 2, 2>>(), choice<Tile<4, 6, 1, 4>>()},
      {choice<Tile<3, 6, 2, 2>>(), choice<Tile<6, 6, 1, 2>>(), choice<Tile<6, 6, 2, 1>>()},
      {choice<Tile<4, 1, 12, 4>>(), choice<Tile<4, 1, 12, 3>>(), choice<Tile<4, 1, 8, 6>>()},
      {choice<Tile<4, 7, 2, 3>>(), choice<Tile<4, 7, 1, 6>>(), choice<Tile<6, 7, 1, 4>>()},
      {choice<Tile<4, 1, 12, 4>>(), choice<Tile<4, 1, 8, 6>>(), choice<Tile<8, 1, 4, 4>>()},
  };
}

}  // namespace

int main() {
  int num_devices = 0;
  if (cudaGetDeviceCount(&num_devices) != cudaSuccess || num_devices == 0) {
    std::printf("no CUDA device\n");
    return 0;
  }
  const Model model;
  const Choices engine(kNumParts, kEngine);
  for (int m = 1; m <= kMaxTokens; ++m) print_step(model, engine, m, "engine");
  for (int part = 0; part < kNumParts; ++part) {
    for (int m = 1; m <= kMaxTokens; ++m) print_alone(model, part, kEngine, m);
  }
  const std::vector<Choices> tried = candidates();
  Choices first;
  for (const Choices& choices : tried) first.push_back(choices[0]);
  print_step(model, first, 1, "first of all");
  for (int part = 0; part < kNumParts; ++part) {
    for (const Choice& choice : tried[part]) {
      print_alone(model, part, choice, 1);
      Choices choices = first;
      choices[part] = choice;
      print_step(model, choices, 1, std::string(kShapes[part].name) + " " + choice.name);
    }
  }
  return 0;
}
