#include "kernels/swiglu.h"

#include "test/kernels/plain_values.h"
#include "test/kernels/tap.h"
#include "test/reference/swiglu.h"

namespace {

using kernels::ThreadPool;
using testing::PlainType;

template <typename T>
std::vector<T> run(const std::vector<T>& gate, const std::vector<T>& up, int num_tokens,
                   ThreadPool& pool) {
  auto out = testing::poisoned<T>(gate.size());
  const int size = static_cast<int>(gate.size()) / num_tokens;
  kernels::swiglu_cpu(
      {out.data(), gate.data(), up.data(), PlainType<T>::kType, num_tokens, size, size, size, size},
      pool);
  return out;
}

template <typename T>
void test_shape(tap::Report& report, const std::string& isa, int num_tokens, int size,
                ThreadPool& pool) {
  const std::size_t count = static_cast<std::size_t>(num_tokens) * size;
  const auto gate = testing::spiky_values<T>(count, 21);
  const auto up = testing::spiky_values<T>(count, 22);
  const auto out = run(gate, up, num_tokens, pool);
  std::vector<double> want(count);
  for (std::size_t i = 0; i < count; ++i) {
    want[i] = reference::swiglu<T>(kernels::to_float(gate[i]), kernels::to_float(up[i]));
  }
  report.close(testing::widened(out).data(), want.data(), count, PlainType<T>::kTolerance,
               isa + " " + PlainType<T>::kName + " (" + std::to_string(num_tokens) + ", " +
                   std::to_string(size) + ")");
}

void test_extremes(tap::Report& report, const std::string& isa, ThreadPool& pool) {
  const float infinity = HUGE_VALF;
  const std::vector<float> gate = {0, -0.0f, 100, -100, 1e30f, -1e30f, infinity, NAN, -88, 88};
  const std::vector<float> up(gate.size(), 2);
  const auto out = run(gate, up, 1, pool);
  const std::vector<double> want = {0, 0, 200, 0, 2e30, 0, HUGE_VAL};
  report.close(out.data(), want.data(), want.size(), 1e-6, isa + " large gates saturate");
  report.ok(std::isnan(out[7]), isa + " NaN stays NaN");
  report.ok(out[8] <= 0 && out[8] > -1e-35f && out[9] == 176, isa + " at the ends of exp");
}

void test_layout(tap::Report& report) {
  // Gate and up side by side, as one fused linear writes them; the result over the gate.
  const int num_tokens = 6, size = 77;
  const auto both = testing::spiky_values<float>(num_tokens * 2 * size, 23);
  std::vector<float> first;
  testing::for_each_isa([&](const std::string& isa, ThreadPool& pool) {
    std::vector<float> rows = both;
    kernels::swiglu_cpu({rows.data(), rows.data(), rows.data() + size, kernels::DType::kF32,
                         num_tokens, size, 2 * size, 2 * size, 2 * size},
                        pool);
    const std::vector<float> gate(&both[2 * 2 * size], &both[2 * 2 * size] + size);
    const std::vector<float> up(&both[2 * 2 * size] + size, &both[2 * 2 * size] + 2 * size);
    const auto alone = run(gate, up, 1, pool);
    report.same_bits(&rows[2 * 2 * size], alone.data(), size, isa + ": alone as in a batch");
    report.same_bits(&rows[2 * 2 * size + size], up.data(), size, isa + ": up is left alone");
    if (first.empty()) first = rows;
    report.same_bits(rows.data(), first.data(), rows.size(), isa + ": same bits as portable");
  });
}

}  // namespace

int main() {
  tap::Report report;
  testing::for_each_isa([&](const std::string& isa, ThreadPool& pool) {
    const auto golden = run<float>({1, -2, 0.5f}, {2, 3, -4}, 1, pool);
    const std::vector<float> want = {1.4621172f, -0.7152175f, -1.2449187f};
    report.close(golden.data(), want.data(), 3, 1e-7, isa + " golden");
    for (const int num_tokens : {2, 512}) {
      const int size = num_tokens == 2 ? 3 : 4096;
      test_shape<float>(report, isa, num_tokens, size, pool);
      test_shape<kernels::f16>(report, isa, num_tokens, size, pool);
      test_shape<kernels::bf16>(report, isa, num_tokens, size, pool);
    }
    test_extremes(report, isa, pool);
  });
  test_layout(report);
  return report.finish();
}
