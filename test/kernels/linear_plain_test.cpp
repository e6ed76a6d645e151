// The linear operator's contract: row-major weights, one type throughout.
#include "kernels/linear_plain.h"

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "test/kernels/tap.h"
#include "test/reference/linear.h"

namespace {

using kernels::DType;
using kernels::Isa;
using kernels::ThreadPool;

template <typename T>
struct TypeOf;
template <>
struct TypeOf<float> {
  static constexpr DType kType = DType::kF32;
  static constexpr double kTolerance = 1e-5;
};
template <>
struct TypeOf<kernels::f16> {
  static constexpr DType kType = DType::kF16;
  static constexpr double kTolerance = 1e-3;
};
template <>
struct TypeOf<kernels::bf16> {
  static constexpr DType kType = DType::kBF16;
  static constexpr double kTolerance = 1e-2;
};

// Uniform in [low, high), rounded to T.
template <typename T>
std::vector<T> random_values(std::size_t count, float low, float high, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(low, high);
  std::vector<T> values(count);
  for (T& value : values) value = kernels::from_float<T>(uniform(random));
  return values;
}

template <typename T>
std::vector<double> widened(const std::vector<T>& values) {
  std::vector<double> wide;
  wide.reserve(values.size());
  for (const T value : values) wide.push_back(kernels::to_float(value));
  return wide;
}

struct Shape {
  int num_tokens;
  int in_features;
  int out_features;
  bool has_bias;
  // Inputs are uniform in [low, 1), times 0.1 for x and 0.01 for the weight.
  float low;
  // Only every nth token is compared: the reference takes a second for each 0.5 G products.
  int compared_every;
};

template <typename T>
void test_shape(tap::Report& report, const Shape& shape, ThreadPool& pool) {
  const std::size_t x_count = static_cast<std::size_t>(shape.num_tokens) * shape.in_features;
  const std::size_t w_count = static_cast<std::size_t>(shape.out_features) * shape.in_features;
  const auto x = random_values<T>(x_count, shape.low * 0.1f, 0.1f, 1);
  const auto weight = random_values<T>(w_count, shape.low * 0.01f, 0.01f, 2);
  const auto bias = random_values<T>(shape.out_features, shape.low, 1, 3);
  std::vector<T> out(static_cast<std::size_t>(shape.num_tokens) * shape.out_features,
                     kernels::from_float<T>(NAN));
  kernels::linear_plain_cpu(
      {out.data(), x.data(), weight.data(), shape.has_bias ? bias.data() : nullptr,
       TypeOf<T>::kType, shape.num_tokens, shape.in_features, shape.out_features},
      pool);

  const auto wide_x = widened(x);
  const auto wide_weight = widened(weight);
  const auto wide_bias = widened(bias);
  std::vector<double> got;
  std::vector<double> want;
  for (int t = 0; t < shape.num_tokens; ++t) {
    if (t % shape.compared_every != 0 && t != shape.num_tokens - 1) continue;
    const auto row = reference::linear(
        wide_x.data() + static_cast<std::size_t>(t) * shape.in_features, wide_weight.data(),
        shape.has_bias ? wide_bias.data() : nullptr, 1, shape.in_features, shape.out_features);
    for (int o = 0; o < shape.out_features; ++o) {
      got.push_back(kernels::to_float(out[static_cast<std::size_t>(t) * shape.out_features + o]));
      want.push_back(kernels::to_float(kernels::from_float<T>(static_cast<float>(row[o]))));
    }
  }
  report.close(got.data(), want.data(), got.size(), TypeOf<T>::kTolerance,
               std::string(kernels::name_of(pool.isa())) + " " +
                   kernels::name_of(TypeOf<T>::kType) + " (" + std::to_string(shape.num_tokens) +
                   ", " + std::to_string(shape.in_features) + ") x (" +
                   std::to_string(shape.out_features) + ", " + std::to_string(shape.in_features) +
                   ")" + (shape.has_bias ? "" : ", no bias"));
}

template <typename T>
void test_type(tap::Report& report) {
  for (const Isa isa : kernels::available_isas()) {
    ThreadPool pool(2, isa);
    test_shape<T>(report, {2, 4, 3, true, 0, 1}, pool);
    test_shape<T>(report, {2, 4, 3, false, 0, 1}, pool);
    test_shape<T>(report, {1, 100, 33, true, -1, 1}, pool);
    test_shape<T>(report, {13, 1, 1, false, -1, 1}, pool);
    test_shape<T>(report, {7, 523, 50, true, -1, 1}, pool);
    test_shape<T>(report, {130, 77, 17, false, -1, 1}, pool);
  }
  ThreadPool pool(2);
  test_shape<T>(report, {512, 4096, 4096, true, 0, 31}, pool);
}

void test_golden(tap::Report& report) {
  ThreadPool pool(1);
  const float x[] = {1, 2, 3, 0, 1, -1};
  const float weight[] = {1, 0, 1, 0.5f, 0.5f, 0.5f};
  const float bias[] = {0.1f, -0.1f};
  const double want[] = {4.1, 2.9, -0.9, -0.1};
  float out[4];
  kernels::linear_plain_cpu({out, x, weight, bias, DType::kF32, 2, 3, 2}, pool);
  report.close(out, want, 4, 1e-6, "golden vector");
}

void test_edges(tap::Report& report) {
  ThreadPool pool(1);
  const float x[] = {1, std::numeric_limits<float>::infinity()};
  const float weight[] = {1, 1, 1, -1};
  float out[] = {7, 7};
  kernels::linear_plain_cpu({out, x, weight, nullptr, DType::kF32, 0, 2, 2}, pool);
  report.ok(out[0] == 7 && out[1] == 7, "no tokens: nothing is written");
  kernels::linear_plain_cpu({out, x, weight, nullptr, DType::kF32, 1, 2, 2}, pool);
  report.ok(out[0] == HUGE_VALF && out[1] == -HUGE_VALF, "infinities keep their sign");
  report.throws(
      [&] {
        kernels::linear_plain_cpu({out, x, weight, nullptr, DType::kQ8_0, 1, 32, 2}, pool);
      },
      {"q8_0", "f32"}, "quantised weights are refused");
  report.throws(
      [&] {
        kernels::linear_plain_cpu({out, x, weight, nullptr, DType::kF32, 1, 0, 2}, pool);
      },
      {"2 x 0"}, "empty rows are refused");
}

}  // namespace

int main() {
  tap::Report report;
  test_golden(report);
  test_edges(report);
  test_type<float>(report);
  test_type<kernels::f16>(report);
  test_type<kernels::bf16>(report);
  return report.finish();
}
