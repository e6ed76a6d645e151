// Packed linears: close to a double-precision reference, and the same bits for every batch size,
// thread count, instruction set and chunking.
#include "kernels/linear.h"

#include <cmath>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "test/kernels/random_weights.h"
#include "test/kernels/tap.h"
#include "test/reference/dequantize.h"
#include "test/reference/linear.h"

namespace {

using kernels::DType;
using kernels::Isa;
using kernels::Linear;
using kernels::PackedWeight;
using kernels::ThreadPool;

struct FreeDeleter {
  void operator()(void* pointer) const { std::free(pointer); }
};

// A weight, its packed form and its values in double.
struct Weight {
  Weight(DType type, int out_features, int in_features, std::uint32_t seed)
      : rows(testing::random_rows(type, out_features, in_features, seed)) {
    const std::size_t num_bytes = kernels::packed_bytes(type, out_features, in_features);
    memory.reset(std::aligned_alloc(64, (num_bytes + 63) / 64 * 64));
    kernels::pack_weight(type, rows.data(), out_features, in_features, memory.get());
    packed = {memory.get(), type, out_features, in_features};
    const std::size_t stride = kernels::row_bytes(type, in_features);
    for (int row = 0; row < out_features; ++row) {
      const auto some = reference::dequantize(type, rows.data() + row * stride, in_features);
      values.insert(values.end(), some.begin(), some.end());
    }
  }

  std::vector<std::uint8_t> rows;
  std::unique_ptr<void, FreeDeleter> memory;
  PackedWeight packed;
  std::vector<double> values;
};

std::vector<float> run(const Weight& weight, const std::vector<float>& x, int num_tokens,
                       ThreadPool& pool) {
  std::vector<float> out(static_cast<std::size_t>(num_tokens) * weight.packed.out_features, NAN);
  kernels::linear_packed_cpu({out.data(), x.data(), weight.packed, nullptr, num_tokens,
                              weight.packed.out_features, weight.packed.in_features, false},
                             pool);
  return out;
}

std::string label(DType type, int out_features, int in_features, int num_tokens) {
  return std::string(kernels::name_of(type)) + " " + std::to_string(out_features) + " x " +
         std::to_string(in_features) + ", M " + std::to_string(num_tokens);
}

// Error in units of the float epsilon times sum |x w|, the natural size of a sum's rounding.
double worst_error(const std::vector<float>& got, const Weight& weight, const std::vector<float>& x,
                   int num_tokens) {
  const int out_features = weight.packed.out_features;
  const int in_features = weight.packed.in_features;
  const std::vector<double> wide(x.begin(), x.end());
  std::vector<double> absolute_x = wide;
  std::vector<double> absolute_w = weight.values;
  for (double& value : absolute_x) value = std::fabs(value);
  for (double& value : absolute_w) value = std::fabs(value);
  const auto want = reference::linear(wide.data(), weight.values.data(), nullptr, num_tokens,
                                      in_features, out_features);
  const auto size = reference::linear(absolute_x.data(), absolute_w.data(), nullptr, num_tokens,
                                      in_features, out_features);
  double worst = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    const double error = std::fabs(got[i] - want[i]) / (size[i] * 0x1p-24);
    worst = std::isnan(error) ? HUGE_VAL : std::max(worst, error);
  }
  return worst;
}

// Worst error of plain float accumulation, k ascending, of the dequantised weights.
double worst_error_of_plain_sum(const Weight& weight, const std::vector<float>& x, int num_tokens) {
  const int out_features = weight.packed.out_features;
  const int in_features = weight.packed.in_features;
  std::vector<float> sums;
  for (int t = 0; t < num_tokens; ++t) {
    for (int o = 0; o < out_features; ++o) {
      float sum = 0;
      for (int k = 0; k < in_features; ++k) {
        sum = std::fma(static_cast<float>(weight.values[o * in_features + k]),
                       x[t * in_features + k], sum);
      }
      sums.push_back(sum);
    }
  }
  return worst_error(sums, weight, x, num_tokens);
}

void test_accuracy(tap::Report& report) {
  ThreadPool pool(2);
  for (const DType type : testing::kAllTypes) {
    const int in_features = 1536;
    for (const int num_tokens : {1, 20}) {
      const Weight weight(type, 80, in_features, 7);
      const auto x = testing::random_floats(num_tokens * in_features, 1, 8);
      const auto got = run(weight, x, num_tokens, pool);
      const double error = worst_error(got, weight, x, num_tokens);
      const double plain = worst_error_of_plain_sum(weight, x, num_tokens);
      report.ok(error <= plain, "at least as exact as a plain float sum: " +
                                    label(type, 80, in_features, num_tokens));
      report.note("error " + std::to_string(error) + ", plain " + std::to_string(plain));
    }
  }
}

// Sizes that are no multiple of a panel, a tile or a slab, on every instruction set.
void test_shapes(tap::Report& report) {
  for (const Isa isa : kernels::available_isas()) {
    ThreadPool pool(2, isa);
    for (const DType type : testing::kAllTypes) {
      const int block = kernels::block_size(type);
      std::vector<int> lens = {block, 3 * block, 1024 + block};
      if (block == 1) lens = {1, 2, 7, 31, 33, 63, 545};
      for (const int in_features : lens) {
        for (const int out_features : {1, 15, 33}) {
          const Weight weight(type, out_features, in_features, 3);
          double worst = 0;
          for (const int num_tokens : {1, 2, 3, 5, 13, 40}) {
            const auto x = testing::random_floats(num_tokens * in_features, 1, num_tokens);
            const auto got = run(weight, x, num_tokens, pool);
            worst = std::max(worst, worst_error(got, weight, x, num_tokens));
          }
          // 32 products, the blocks and the offset of q4_1: a few roundings of the largest sum.
          report.ok(worst <= 40, std::string(kernels::name_of(isa)) +
                                     " is right: " + label(type, out_features, in_features, 40));
          if (worst > 40) report.note("error " + std::to_string(worst) + " epsilon");
        }
      }
    }
  }
}

// Each row alone against the row inside batches of many sizes.
void test_batches(tap::Report& report) {
  for (const Isa isa : kernels::available_isas()) {
    if (isa == Isa::kPortable) continue;
    ThreadPool pool(2, isa);
    for (const DType type : testing::kAllTypes) {
      const int in_features = type == DType::kQ6_K ? 768 : 608;
      const int out_features = 72;
      const Weight weight(type, out_features, in_features, 5);
      const auto x = testing::random_floats(512 * in_features, 1, 6);
      std::vector<float> alone(512 * out_features);
      for (int t = 0; t < 512; ++t) {
        kernels::linear_packed_cpu({alone.data() + t * out_features, x.data() + t * in_features,
                                    weight.packed, nullptr, 1, out_features, in_features, false},
                                   pool);
      }
      for (const int num_tokens : {2, 3, 4, 5, 7, 8, 9, 12, 16, 17, 33, 96, 97, 200, 512}) {
        const auto got = run(weight, x, num_tokens, pool);
        report.same_bits(got.data(), alone.data(), got.size(),
                         std::string(kernels::name_of(isa)) + ", alone as in a batch: " +
                             label(type, out_features, in_features, num_tokens));
      }
    }
  }
}

void test_isas_and_threads(tap::Report& report) {
  for (const DType type : testing::kAllTypes) {
    const int in_features = type == DType::kQ6_K ? 512 : 544;
    const Weight weight(type, 100, in_features, 9);
    for (const int num_tokens : {1, 2, 6, 30}) {
      const auto x = testing::random_floats(num_tokens * in_features, 1, 10);
      ThreadPool single(1, Isa::kPortable);
      const auto want = run(weight, x, num_tokens, single);
      for (const Isa isa : kernels::available_isas()) {
        for (const int num_threads : {1, 2, 3, 4}) {
          ThreadPool pool(num_threads, isa);
          const auto got = run(weight, x, num_tokens, pool);
          report.same_bits(
              got.data(), want.data(), got.size(),
              std::string(kernels::name_of(isa)) + ", " + std::to_string(num_threads) +
                  " threads, as portable: " + label(type, 100, in_features, num_tokens));
        }
      }
    }
  }
}

// Tiny, huge and special activations keep their bits in a batch, too.
void test_extremes(tap::Report& report) {
  for (const Isa isa : kernels::available_isas()) {
    ThreadPool pool(2, isa);
    for (const DType type : testing::kAllTypes) {
      const int in_features = type == DType::kQ6_K ? 256 : 64;
      const Weight weight(type, 24, in_features, 11);
      auto x = testing::random_floats(20 * in_features, 1, 12);
      for (int k = 0; k < in_features; ++k) {
        x[2 * in_features + k] *= 0x1p-120f;
        x[5 * in_features + k] *= 0x1p-140f;
        x[7 * in_features + k] *= 0x1p100f;
        x[11 * in_features + k] = 0;
        x[12 * in_features + k] = -0.0f;
      }
      const auto got = run(weight, x, 20, pool);
      std::vector<float> alone(got.size());
      for (int t = 0; t < 20; ++t) {
        kernels::linear_packed_cpu({alone.data() + t * 24, x.data() + t * in_features,
                                    weight.packed, nullptr, 1, 24, in_features, false},
                                   pool);
      }
      report.same_bits(got.data(), alone.data(), got.size(),
                       std::string(kernels::name_of(isa)) +
                           ", extreme activations: " + label(type, 24, in_features, 20));
      x[3 * in_features + 5] = NAN;
      const auto with_nan = run(weight, x, 20, pool);
      report.ok(std::isnan(with_nan[3 * 24]) && std::isnan(with_nan[3 * 24 + 23]),
                std::string("NaN stays NaN: ") + kernels::name_of(type));
      report.same_bits(with_nan.data(), got.data(), 3 * 24, "and stays in its row");
    }
  }
}

void test_output(tap::Report& report) {
  ThreadPool pool(2);
  const int in_features = 64;
  const Weight weight(DType::kQ8_0, 37, in_features, 13);
  const auto bias = testing::random_floats(37, 1, 14);
  for (const int num_tokens : {1, 40}) {
    const auto x = testing::random_floats(num_tokens * (in_features + 3), 1, 15);
    std::vector<float> packed_x;
    for (int t = 0; t < num_tokens; ++t) {
      const auto row = x.begin() + t * (in_features + 3);
      packed_x.insert(packed_x.end(), row, row + in_features);
    }
    const auto plain = run(weight, packed_x, num_tokens, pool);
    const int stride = 41;
    std::vector<float> out(num_tokens * stride, 3);
    std::vector<float> want(num_tokens * stride, 3);
    const auto call = [&](const float* some_bias, bool accumulate) {
      kernels::linear_packed_cpu({out.data(), x.data(), weight.packed, some_bias, num_tokens,
                                  stride, in_features + 3, accumulate},
                                 pool);
    };
    const std::string suffix = ", M " + std::to_string(num_tokens);
    for (int t = 0; t < num_tokens; ++t) {
      for (int o = 0; o < 37; ++o) want[t * stride + o] = plain[t * 37 + o] + bias[o];
    }
    call(bias.data(), false);
    report.same_bits(out.data(), want.data(), out.size(), "bias and strides" + suffix);
    for (int t = 0; t < num_tokens; ++t) {
      for (int o = 0; o < 37; ++o) want[t * stride + o] += plain[t * 37 + o];
    }
    call(nullptr, true);
    report.same_bits(out.data(), want.data(), out.size(), "accumulate without bias" + suffix);
    for (int t = 0; t < num_tokens; ++t) {
      for (int o = 0; o < 37; ++o) want[t * stride + o] += plain[t * 37 + o] + bias[o];
    }
    call(bias.data(), true);
    report.same_bits(out.data(), want.data(), out.size(), "accumulate with bias" + suffix);
  }
}

// q, k and v packed one after the other are one weight.
void test_joined(tap::Report& report) {
  ThreadPool pool(2);
  const Weight first(DType::kQ4_1, 48, 96, 16);
  const Weight second(DType::kQ4_1, 20, 96, 17);
  const std::size_t first_bytes = kernels::packed_bytes(DType::kQ4_1, 48, 96);
  const std::size_t second_bytes = kernels::packed_bytes(DType::kQ4_1, 20, 96);
  std::unique_ptr<void, FreeDeleter> memory(
      std::aligned_alloc(64, (first_bytes + second_bytes + 63) / 64 * 64));
  auto* bytes = static_cast<std::uint8_t*>(memory.get());
  kernels::pack_weight(DType::kQ4_1, first.rows.data(), 48, 96, bytes);
  kernels::pack_weight(DType::kQ4_1, second.rows.data(), 20, 96, bytes + first_bytes);
  const auto x = testing::random_floats(96, 1, 18);
  std::vector<float> joined(68);
  kernels::linear_packed_cpu(
      {joined.data(), x.data(), {bytes, DType::kQ4_1, 68, 96}, nullptr, 1, 68, 96, false}, pool);
  const auto first_out = run(first, x, 1, pool);
  const auto second_out = run(second, x, 1, pool);
  report.same_bits(joined.data(), first_out.data(), 48, "joined weights: the first");
  report.same_bits(joined.data() + 48, second_out.data(), 20, "joined weights: the second");
}

void test_refusals(tap::Report& report) {
  ThreadPool pool(1);
  const Weight weight(DType::kQ4_1, 16, 64, 19);
  std::vector<float> out(16, 5);
  const std::vector<float> x(64, 1);
  Linear op = {out.data(), x.data(), weight.packed, nullptr, 0, 16, 64, false};
  kernels::linear_packed_cpu(op, pool);
  report.ok(out[0] == 5, "no tokens: nothing is written");
  op.num_tokens = -1;
  report.throws([&] { kernels::linear_packed_cpu(op, pool); }, {"-1 tokens"}, "negative tokens");
  op.num_tokens = 1;
  op.x_stride = 63;
  report.throws([&] { kernels::linear_packed_cpu(op, pool); }, {"63", "64"}, "short rows");
  op.x_stride = 64;
  op.weight.in_features = 40;
  report.throws([&] { kernels::linear_packed_cpu(op, pool); }, {"40", "q4_1"}, "broken blocks");
}

}  // namespace

int main() {
  tap::Report report;
  test_accuracy(report);
  test_shapes(report);
  test_batches(report);
  test_isas_and_threads(report);
  test_extremes(report);
  test_output(report);
  test_joined(report);
  test_refusals(report);
  return report.finish();
}
