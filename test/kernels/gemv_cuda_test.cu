// One to four tokens times a weight: every output, type and numerics on whole and ragged shapes.
// `small` runs a subset for compute-sanitizer.
#include <cstring>

#include "kernels/cuda_gemv.h"
#include "test/kernels/linear_case.cuh"
#include "test/kernels/tap.h"

namespace {

using kernels::LinearOutput;
using kernels::Numerics;
using testing::LinearCall;
using testing::LinearLayer;
using testing::PlainType;

struct Shape {
  int out_features;
  int in_features;
};

constexpr LinearOutput kOutputs[] = {LinearOutput::kStore, LinearOutput::kAddResidual,
                                     LinearOutput::kSwiGlu, LinearOutput::kLogits};
constexpr const char* kOutputNames[] = {"store", "add residual", "swiglu", "logits"};
constexpr Numerics kNumerics[] = {Numerics::kReference, Numerics::kFast};
constexpr const char* kNumericsNames[] = {"reference", "fast"};

const std::vector<Shape> kSmallShapes = {{1, 8}, {7, 72}, {40, 264}, {96, 72}, {32, 4104}};
const std::vector<Shape> kShapes = {
    {1, 8},       {7, 8},       {32, 8},      {1, 1536},     {7, 72},       {40, 72},    {96, 72},
    {576, 72},    {2048, 72},   {7, 576},     {576, 576},    {960, 576},    {3072, 576}, {40, 1536},
    {1536, 1536}, {1537, 1536}, {2048, 1536}, {17920, 1536}, {17921, 1536}, {7, 8960},   {40, 8960},
    {64, 8960},   {1536, 8960}, {2048, 8192}, {40, 18944},   {151936, 72}};

// Rounding in between can tip a result to the neighbour of its neighbour.
template <class T>
double tolerance_of(const LinearCall& call) {
  if (call.output == LinearOutput::kLogits && call.numerics == Numerics::kFast && !call.has_norm) {
    return 2e-5;
  }
  const bool is_fused = call.output == LinearOutput::kAddResidual ||
                        call.output == LinearOutput::kSwiGlu || call.has_norm;
  return (is_fused ? 2 : 1) * PlainType<T>::kTolerance;
}

template <class T>
void test_shapes(tap::Report& report, const std::vector<Shape>& shapes) {
  testing::Mismatches mismatches[4][2][kernels::kMaxGemvTokens];
  for (const Shape& shape : shapes) {
    LinearLayer<T> layer(shape.in_features, shape.out_features, kernels::kMaxGemvTokens, 7);
    for (int o = 0; o < 4; ++o) {
      if (kOutputs[o] == LinearOutput::kSwiGlu && shape.out_features % 32 != 0) continue;
      for (int n = 0; n < 2; ++n) {
        for (int m = 1; m <= kernels::kMaxGemvTokens; ++m) {
          const bool has_norm = shape.in_features <= 4096 && (o + n + m) % 3 != 0;
          const LinearCall call{kOutputs[o], kNumerics[n], m, (o + m) % 2 == 0, has_norm, false};
          mismatches[o][n][m - 1].compare(layer, call, tolerance_of<T>(call));
        }
      }
    }
  }
  for (int o = 0; o < 4; ++o) {
    for (int n = 0; n < 2; ++n) {
      for (int m = 1; m <= kernels::kMaxGemvTokens; ++m) {
        const testing::Mismatches& found = mismatches[o][n][m - 1];
        report.ok(found.empty(), std::string(PlainType<T>::kName) + ", " + kOutputNames[o] + ", " +
                                     kNumericsNames[n] + ", " + std::to_string(m) + " tokens");
        if (!found.empty()) report.note(found.text());
      }
    }
  }
}

// Sums of whole numbers have no rounding: one product too few or too many shows.
template <class T>
void test_exact_sums(tap::Report& report, const std::vector<Shape>& shapes) {
  testing::Mismatches found;
  for (const Shape& shape : shapes) {
    LinearLayer<T> layer(shape.in_features, shape.out_features, 4, 11, true);
    for (int m = 1; m <= 4; ++m) {
      found.compare(layer, {LinearOutput::kLogits, Numerics::kFast, m, true, false, false}, 0);
    }
  }
  report.ok(found.empty(), std::string(PlainType<T>::kName) + ": sums of whole numbers are exact");
  if (!found.empty()) report.note(found.text());
}

template <class T>
void test_head(tap::Report& report) {
  LinearLayer<T> layer(1536, 151936, 4, 13);
  testing::Mismatches found;
  for (const int m : {1, 4}) {
    const LinearCall call{LinearOutput::kLogits, Numerics::kReference, m, false, true, false};
    found.compare(layer, call, tolerance_of<T>(call));
  }
  report.ok(found.empty(), std::string(PlainType<T>::kName) + ": the head of 151,936 rows");
  if (!found.empty()) report.note(found.text());
}

// More tokens, or bits that may not depend on their number, go to the tensor cores, the norm in
// front.
template <class T>
void test_dispatch(tap::Report& report, const std::vector<Shape>& shapes) {
  testing::Mismatches found;
  for (const Shape& shape : shapes) {
    LinearLayer<T> layer(shape.in_features, shape.out_features, 100, 17);
    for (const int m : {1, 4, 5, 8, 100}) {
      for (const LinearOutput output : kOutputs) {
        if (output == LinearOutput::kSwiGlu && shape.out_features % 32 != 0) continue;
        const LinearCall call{
            output, m % 2 == 0 ? Numerics::kFast : Numerics::kReference, m, true, true, m < 5};
        found.compare(layer, call, tolerance_of<T>(call));
      }
    }
  }
  report.ok(found.empty(), std::string(PlainType<T>::kName) + ": the norm before tensor cores");
  if (!found.empty()) report.note(found.text());
}

// A layer's four linears, as a chain in which each starts before the one in front has ended.
class Chain {
 public:
  explicit Chain(int num_tokens)
      : num_tokens_(num_tokens),
        qkv_(1536, 2048, num_tokens, 21),
        o_(1536, 1536, num_tokens, 22),
        gate_up_(1536, 17920, num_tokens, 23),
        down_(8960, 1536, num_tokens, 24),
        start_(testing::quick_values<kernels::bf16>(num_tokens * 1536, -1, 1, 25)),
        hidden_(num_tokens * 1536),
        heads_(num_tokens * 2048),
        inner_(num_tokens * 8960) {}

  std::vector<kernels::bf16> run(int num_layers, bool waits) {
    heads_.poison();
    inner_.poison();
    hidden_.upload(start_);
    for (int i = 0; i < num_layers; ++i) {
      enqueue(qkv_, hidden_.data(), 1536, heads_.data(), LinearOutput::kStore, waits);
      enqueue(o_, heads_.data(), 2048, hidden_.data(), LinearOutput::kAddResidual, waits);
      enqueue(gate_up_, hidden_.data(), 1536, inner_.data(), LinearOutput::kSwiGlu, waits);
      enqueue(down_, inner_.data(), 8960, hidden_.data(), LinearOutput::kAddResidual, waits);
    }
    return hidden_.download();
  }

 private:
  using Layer = LinearLayer<kernels::bf16>;

  void enqueue(const Layer& layer, const void* x, int x_stride, void* out, LinearOutput output,
               bool waits) {
    kernels::CudaLinear op{};
    op.out = out;
    op.x = x;
    op.weight = layer.device_weight.data();
    op.bias = layer.out_features == 2048 ? layer.device_bias.data() : nullptr;
    const bool has_norm = output == LinearOutput::kStore || output == LinearOutput::kSwiGlu;
    op.norm_weight = has_norm ? layer.device_norm_weight.data() : nullptr;
    op.norm_epsilon = 1e-6f;
    op.type = kernels::DType::kBF16;
    op.output = output;
    op.num_tokens = num_tokens_;
    op.in_features = layer.in_features;
    op.out_features = layer.out_features;
    op.x_stride = x_stride;
    op.out_stride = layer.out_columns(output);
    op.workspace = layer.workspace.data();
    kernels::cuda_linear(op, nullptr);
    if (waits) CUDA_CHECK(cudaDeviceSynchronize());
  }

  int num_tokens_;
  Layer qkv_, o_, gate_up_, down_;
  std::vector<kernels::bf16> start_;
  testing::DeviceBuffer<kernels::bf16> hidden_, heads_, inner_;
};

void test_chain(tap::Report& report) {
  for (const int num_tokens : {1, 3}) {
    Chain chain(num_tokens);
    const std::vector<kernels::bf16> apart = chain.run(8, true);
    bool are_numbers = true;
    for (const kernels::bf16 value : apart) {
      are_numbers = are_numbers && std::isfinite(kernels::to_float(value));
    }
    report.ok(are_numbers, "a chain of layers gives numbers");
    bool is_same = true;
    for (int i = 0; i < 50 && is_same; ++i) {
      const std::vector<kernels::bf16> together = chain.run(8, false);
      is_same = std::memcmp(together.data(), apart.data(), apart.size() * 2) == 0;
    }
    report.ok(is_same, "overlapping kernels give the same bits as waiting for each, 50 times, " +
                           std::to_string(num_tokens) + " tokens");
  }
}

void test_refusals(tap::Report& report) {
  LinearLayer<kernels::bf16> odd(12, 32, 1, 1);
  const LinearCall call{LinearOutput::kStore, Numerics::kFast, 1, false, false, false};
  report.throws([&] { odd.run(call); }, {"in_features 12", "multiple of 8"},
                "a row that is not whole packs is refused");
  LinearLayer<kernels::bf16> ragged(16, 40, 1, 1);
  const LinearCall pairs{LinearOutput::kSwiGlu, Numerics::kFast, 1, false, false, false};
  report.throws([&] { ragged.run(pairs); }, {"out_features 40", "multiple of 32"},
                "half a group of gate and up is refused");
  LinearCall none = call;
  none.num_tokens = 0;
  report.ok(ragged.run(none).empty(), "no tokens, nothing done");
}

}  // namespace

int main(int argc, char** argv) {
  if (!testing::has_device()) return 0;
  const bool is_small = argc > 1 && std::strcmp(argv[1], "small") == 0;
  tap::Report report;
  test_refusals(report);
  const std::vector<Shape>& shapes = is_small ? kSmallShapes : kShapes;
  test_shapes<kernels::bf16>(report, shapes);
  test_shapes<kernels::f16>(report, shapes);
  test_exact_sums<kernels::bf16>(report, shapes);
  const std::vector<Shape> dispatched = {{96, 72}, {40, 264}};
  test_dispatch<kernels::bf16>(report, dispatched);
  test_dispatch<kernels::f16>(report, dispatched);
  if (!is_small) {
    test_exact_sums<kernels::f16>(report, {{2048, 1536}, {1536, 8960}});
    test_head<kernels::bf16>(report);
    test_chain(report);
  }
  return report.finish();
}
