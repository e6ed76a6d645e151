#include "kernels/rope.h"

#include "test/kernels/plain_values.h"
#include "test/kernels/tap.h"
#include "test/reference/rope.h"

namespace {

using kernels::ThreadPool;
using testing::PlainType;

template <typename T>
void test_shape(tap::Report& report, int num_tokens, int num_heads, int head_dim,
                int first_position, int num_compared, ThreadPool& pool) {
  const std::size_t row = static_cast<std::size_t>(num_heads) * head_dim;
  const auto x = testing::uniform_values<T>(num_tokens * row, -1, 1, 31);
  std::vector<std::int64_t> positions(num_tokens);
  for (int t = 0; t < num_tokens; ++t) positions[t] = first_position + t;
  auto out = testing::poisoned<T>(x.size());
  const auto stride = static_cast<std::int64_t>(row);
  kernels::rope_cpu({out.data(), x.data(), positions.data(), PlainType<T>::kType, num_tokens,
                     num_heads, head_dim, 1e4f, stride, stride},
                    pool);
  const auto wide = testing::widened(x);
  std::vector<double> want, got;
  const auto wide_out = testing::widened(out);
  for (int t = num_tokens - num_compared; t < num_tokens; ++t) {
    for (int h = 0; h < num_heads; ++h) {
      const std::size_t at = t * row + static_cast<std::size_t>(h) * head_dim;
      const auto head = reference::rope<T>(&wide[at], head_dim, positions[t], 1e4f);
      want.insert(want.end(), head.begin(), head.end());
      got.insert(got.end(), wide_out.begin() + at, wide_out.begin() + at + head_dim);
    }
  }
  const double tolerance =
      PlainType<T>::kType == kernels::DType::kF32 ? 1e-4 : PlainType<T>::kTolerance;
  report.close(got.data(), want.data(), want.size(), tolerance,
               std::string(PlainType<T>::kName) + " (" + std::to_string(num_tokens) + ", " +
                   std::to_string(num_heads) + ", " + std::to_string(head_dim) + ")");
}

void test_golden(tap::Report& report, ThreadPool& pool) {
  const std::vector<float> x = {1, 2, 3, 4, 0.5f, -1, 2, 0};
  const std::vector<std::int64_t> positions = {5, 7};
  std::vector<float> out(8);
  kernels::rope_cpu(
      {out.data(), x.data(), positions.data(), kernels::DType::kF32, 2, 1, 4, 1e4f, 4, 4}, pool);
  const std::vector<float> want = {3.160435f,   1.7975838f, -0.1079377f, 4.0949594f,
                                   -0.9370221f, -0.997551f, 1.8362978f,  -0.0699428f};
  report.close(out.data(), want.data(), 8, 2e-7, "golden");
}

// The engine's form against the definition, in place in rows that hold more than the heads.
void test_table(tap::Report& report, int head_dim, ThreadPool& pool) {
  const int num_positions = 1100, num_tokens = 21, num_heads = 3;
  const int stride = num_heads * head_dim + 5;
  std::vector<float> table(static_cast<std::size_t>(num_positions) * head_dim, NAN);
  kernels::fill_rope_table(table.data(), num_positions, head_dim, 1e4f, nullptr, pool);
  const auto x = testing::uniform_values<float>(num_tokens * stride, -1, 1, 32);
  std::vector<std::int32_t> positions(num_tokens);
  for (int t = 0; t < num_tokens; ++t) positions[t] = (t * 367 + 1099) % num_positions;

  std::vector<float> first;
  testing::for_each_isa([&](const std::string& isa, ThreadPool& pool) {
    std::vector<float> rows = x;
    kernels::rope_from_table_cpu(
        {rows.data(), positions.data(), table.data(), num_tokens, num_heads, head_dim, stride},
        pool);
    std::vector<double> want(x.begin(), x.end());
    for (int t = 0; t < num_tokens; ++t) {
      for (int h = 0; h < num_heads; ++h) {
        double* head = &want[t * stride + h * head_dim];
        const auto turned = reference::rope<float>(head, head_dim, positions[t], 1e4f);
        std::copy(turned.begin(), turned.end(), head);
      }
    }
    const std::string name = isa + " table, head_dim " + std::to_string(head_dim);
    report.close(rows.data(), want.data(), rows.size(), 1e-4, name);
    if (first.empty()) first = rows;
    report.same_bits(rows.data(), first.data(), rows.size(), name + ": same bits as portable");
  });
}

// Llama-3.2-1B: the values are of the published rule, computed in double.
void test_llama3(tap::Report& report, ThreadPool& pool) {
  const int head_dim = 64;
  const float theta = 500000;
  std::vector<float> divisors(head_dim / 2);
  kernels::llama3_frequency_divisors(divisors.data(), head_dim, theta, {32, 1, 4, 8192});
  bool same = true;
  int num_blended = 0;
  std::vector<double> frequencies;
  for (int j = 0; j < head_dim / 2; ++j) {
    const double frequency = std::pow(static_cast<double>(theta), -2.0 * j / head_dim);
    const double wavelength = 6.283185307179586 / frequency;
    double scaled = frequency;
    if (wavelength > 8192) {
      scaled = frequency / 32;
    } else if (wavelength >= 8192.0 / 4) {
      const double smooth = (8192 / wavelength - 1) / 3;
      scaled = (1 - smooth) * frequency / 32 + smooth * frequency;
      ++num_blended;
    }
    frequencies.push_back(scaled);
    same = same && std::fabs(frequency / divisors[j] - scaled) <= 1e-5 * scaled;
  }
  report.ok(same, "Llama-3 scaling of every frequency");
  report.ok(num_blended > 1 && divisors[0] == 1 && divisors.back() == 32,
            "short, blended and long waves all occur");

  std::vector<float> table(101 * head_dim);
  kernels::fill_rope_table(table.data(), 101, head_dim, theta, divisors.data(), pool);
  std::vector<double> want;
  for (const double frequency : frequencies) want.push_back(std::cos(100 * frequency));
  for (const double frequency : frequencies) want.push_back(std::sin(100 * frequency));
  report.close(&table[100 * head_dim], want.data(), want.size(), 2e-5, "divisors in the table");
}

}  // namespace

int main() {
  tap::Report report;
  ThreadPool pool(2);
  test_golden(report, pool);
  test_shape<float>(report, 2, 1, 4, 0, 2, pool);
  test_shape<kernels::f16>(report, 2, 1, 4, 0, 2, pool);
  test_shape<kernels::bf16>(report, 2, 1, 4, 0, 2, pool);
  // The reference computes two trigonometric functions per element: the last tokens, whose angles
  // are the largest, stand for all.
  test_shape<float>(report, 512, 4, 4096, 512, 24, pool);
  test_shape<kernels::f16>(report, 512, 4, 4096, 512, 4, pool);
  test_shape<kernels::bf16>(report, 512, 4, 4096, 512, 4, pool);
  for (const int head_dim : {2, 64, 80, 96, 128}) test_table(report, head_dim, pool);
  test_llama3(report, pool);
  report.throws([&] { kernels::fill_rope_table(nullptr, 1, 7, 1e4f, nullptr, pool); },
                {"7", "even"}, "an odd head_dim is refused");
  return report.finish();
}
