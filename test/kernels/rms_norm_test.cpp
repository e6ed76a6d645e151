#include "kernels/rms_norm.h"

#include "test/kernels/plain_values.h"
#include "test/kernels/tap.h"
#include "test/reference/rms_norm.h"

namespace {

using kernels::ThreadPool;
using testing::PlainType;

template <typename T>
std::vector<T> run(const std::vector<T>& x, const std::vector<T>& weight, int num_tokens,
                   int num_groups, float epsilon, ThreadPool& pool) {
  auto out = testing::poisoned<T>(x.size());
  const int hidden_size = static_cast<int>(weight.size());
  const std::int64_t stride = static_cast<std::int64_t>(num_groups) * hidden_size;
  kernels::rms_norm_cpu({out.data(), x.data(), weight.data(), PlainType<T>::kType, num_tokens,
                         hidden_size, stride, stride, epsilon, num_groups},
                        pool);
  return out;
}

template <typename T>
void test_shape(tap::Report& report, const std::string& isa, int num_tokens, int hidden_size,
                int num_groups, ThreadPool& pool) {
  const std::size_t count = static_cast<std::size_t>(num_tokens) * num_groups * hidden_size;
  const auto x = testing::spiky_values<T>(count, 11);
  const auto weight = testing::spiky_values<T>(hidden_size, 12);
  const auto out = run(x, weight, num_tokens, num_groups, 1e-5f, pool);
  const auto wide_x = testing::widened(x);
  const auto wide_weight = testing::widened(weight);
  std::vector<double> want;
  for (std::size_t at = 0; at < count; at += hidden_size) {
    const auto row = reference::rms_norm<T>(&wide_x[at], wide_weight.data(), hidden_size, 1e-5f);
    want.insert(want.end(), row.begin(), row.end());
  }
  report.close(testing::widened(out).data(), want.data(), count, PlainType<T>::kTolerance,
               isa + " " + PlainType<T>::kName + " (" + std::to_string(num_tokens) + ", " +
                   std::to_string(num_groups) + " x " + std::to_string(hidden_size) + ")");
}

template <typename T>
void test_type(tap::Report& report, const std::string& isa, ThreadPool& pool) {
  test_shape<T>(report, isa, 1, 4, 1, pool);
  test_shape<T>(report, isa, 512, 4096, 1, pool);
  test_shape<T>(report, isa, 5, 577, 1, pool);
  test_shape<T>(report, isa, 7, 128, 8, pool);
  test_shape<T>(report, isa, 3, 1, 1, pool);
}

void test_golden(tap::Report& report, const std::string& isa, ThreadPool& pool) {
  const std::vector<float> x = {1, 2, 3, 4, 0, -1, 0.5f, 2};
  const std::vector<float> weight = {1, 0.5f, 2, 1};
  const std::vector<float> want = {0.3651481f, 0.3651481f,  2.1908888f, 1.4605925f,
                                   0,          -0.4364341f, 0.8728682f, 1.7457364f};
  report.close(run(x, weight, 2, 1, 1e-5f, pool).data(), want.data(), 8, 2e-7, isa + " golden");
}

// Strides, in place, and the same bits alone as in a batch and on every instruction set.
void test_invariance(tap::Report& report) {
  const int num_tokens = 9, hidden_size = 577, stride = 600;
  auto x = testing::spiky_values<float>(num_tokens * stride, 13);
  const auto weight = testing::spiky_values<float>(hidden_size, 14);
  std::vector<float> first;
  testing::for_each_isa([&](const std::string& isa, ThreadPool& pool) {
    std::vector<float> rows = x;
    kernels::rms_norm_cpu({rows.data(), rows.data(), weight.data(), kernels::DType::kF32,
                           num_tokens, hidden_size, stride, stride, 1e-6f},
                          pool);
    bool untouched = true;
    for (int t = 0; t < num_tokens; ++t) {
      for (int i = hidden_size; i < stride; ++i) {
        untouched = untouched && rows[t * stride + i] == x[t * stride + i];
      }
    }
    report.ok(untouched, isa + ": nothing behind a row is touched");
    std::vector<float> alone(hidden_size);
    kernels::rms_norm_cpu({alone.data(), &x[4 * stride], weight.data(), kernels::DType::kF32, 1,
                           hidden_size, hidden_size, stride, 1e-6f},
                          pool);
    report.same_bits(alone.data(), &rows[4 * stride], hidden_size, isa + ": alone as in a batch");
    if (first.empty()) first = rows;
    report.same_bits(rows.data(), first.data(), rows.size(), isa + ": same bits as portable");
  });
}

}  // namespace

int main() {
  tap::Report report;
  testing::for_each_isa([&](const std::string& isa, ThreadPool& pool) {
    test_golden(report, isa, pool);
    test_type<float>(report, isa, pool);
    test_type<kernels::f16>(report, isa, pool);
    test_type<kernels::bf16>(report, isa, pool);
  });
  test_invariance(report);
  return report.finish();
}
