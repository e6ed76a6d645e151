// Linear layers in float: every product a float multiply-add, the same bits for any number of
// tokens. `small` runs a subset for compute-sanitizer.
#include <cstring>

#include "test/kernels/linear_case.cuh"
#include "test/kernels/tap.h"

namespace {

using kernels::LinearOutput;
using kernels::Numerics;
using testing::LinearCall;
using testing::LinearLayer;

constexpr LinearOutput kOutputs[] = {LinearOutput::kStore, LinearOutput::kAddResidual,
                                     LinearOutput::kSwiGlu, LinearOutput::kLogits};
constexpr const char* kOutputNames[] = {"store", "add residual", "swiglu", "logits"};

struct Shape {
  int out_features;
  int in_features;
  int max_tokens;
};

const std::vector<Shape> kSmallShapes = {{1, 3, 2}, {32, 8, 17}, {96, 40, 3}};
const std::vector<Shape> kShapes = {{1, 3, 2},       {3, 4, 2},       {32, 8, 17},
                                    {96, 77, 65},    {160, 64, 5},    {2048, 1536, 4},
                                    {576, 576, 100}, {3072, 576, 33}, {64, 8960, 4}};

void test_outputs(tap::Report& report, const std::vector<Shape>& shapes) {
  testing::Mismatches found[4];
  for (const Shape& shape : shapes) {
    LinearLayer<float> layer(shape.in_features, shape.out_features, shape.max_tokens, 41);
    for (int o = 0; o < 4; ++o) {
      if (kOutputs[o] == LinearOutput::kSwiGlu && shape.out_features % 32 != 0) continue;
      for (const int m : {1, shape.max_tokens}) {
        found[o].compare(layer, {kOutputs[o], Numerics::kReference, m, o % 2 == 0, o > 1, false},
                         1e-5);
        found[o].compare(layer, {kOutputs[o], Numerics::kFast, m, o % 2 == 1, o < 2, true}, 1e-5);
      }
    }
  }
  for (int o = 0; o < 4; ++o) {
    report.ok(found[o].empty(), std::string("f32, ") + kOutputNames[o]);
    if (!found[o].empty()) report.note(found[o].text());
  }
}

// What LLAISYS checks: (512, 4096) times (4096, 4096), values in [0, 1) scaled by 0.1 and 0.01.
void test_large(tap::Report& report) {
  LinearLayer<float> layer(4096, 4096, 512, 43);
  for (float& value : layer.x) value = 0.1f * std::fabs(value) / 1.5f;
  const float span = 1.7f / 64;
  for (float& value : layer.weight) value = 0.01f * std::fabs(value) / span;
  layer.device_x.upload(layer.x);
  layer.device_weight.upload(layer.weight);
  testing::Mismatches found;
  found.compare(layer, {LinearOutput::kStore, Numerics::kReference, 512, true, false, false}, 1e-5);
  report.ok(found.empty(), "f32, (512, 4096) x (4096, 4096) without a sign");
  if (!found.empty()) report.note(found.text());
}

void test_rows_alone(tap::Report& report) {
  LinearLayer<float> layer(1536, 2048, 100, 44);
  LinearCall call{LinearOutput::kLogits, Numerics::kFast, 100, true, true, false};
  const auto together = layer.run(call);
  call.num_tokens = 1;
  const auto alone = layer.run(call);
  report.same_bits(alone.data(), together.data(), alone.size(), "a token alone and among 100");
}

void test_refusals(tap::Report& report) {
  kernels::CudaLinear op{};
  op.type = kernels::DType::kQ4_0;
  report.throws([&] { kernels::cuda_linear(op, nullptr); }, {"q4_0", "f32, f16 or bf16"},
                "a block format is refused");
  op.type = kernels::DType::kF32;
  report.throws([&] { kernels::cuda_linear(op, nullptr); }, {"in_features 0", "above 0"},
                "an empty row is refused");
}

}  // namespace

int main(int argc, char** argv) {
  if (!testing::has_device()) return 0;
  const bool is_small = argc > 1 && std::strcmp(argv[1], "small") == 0;
  tap::Report report;
  test_refusals(report);
  test_outputs(report, is_small ? kSmallShapes : kShapes);
  if (!is_small) {
    test_large(report);
    test_rows_alone(report);
  }
  return report.finish();
}
