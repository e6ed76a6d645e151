#include "kernels/add.h"

#include "test/kernels/plain_values.h"
#include "test/kernels/tap.h"
#include "test/reference/add.h"

namespace {

using kernels::ThreadPool;
using testing::PlainType;

template <typename T>
void test_shape(tap::Report& report, int num_tokens, int hidden_size, ThreadPool& pool) {
  const std::size_t count = static_cast<std::size_t>(num_tokens) * hidden_size;
  const auto a = testing::spiky_values<T>(count, 1);
  const auto b = testing::spiky_values<T>(count, 2);
  auto out = testing::poisoned<T>(count);
  kernels::add_cpu({out.data(), a.data(), b.data(), PlainType<T>::kType, num_tokens, hidden_size,
                    hidden_size, hidden_size, hidden_size},
                   pool);
  std::vector<double> want(count);
  for (std::size_t i = 0; i < count; ++i) {
    want[i] = reference::add<T>(kernels::to_float(a[i]), kernels::to_float(b[i]));
  }
  // 1e-3 is less than half a bf16 ulp above 1: the sum must be the correctly rounded one.
  const double tolerance = PlainType<T>::kType == kernels::DType::kF32 ? 1e-5 : 1e-3;
  report.close(testing::widened(out).data(), want.data(), count, tolerance,
               std::string(PlainType<T>::kName) + " (" + std::to_string(num_tokens) + ", " +
                   std::to_string(hidden_size) + ")");
}

template <typename T>
void test_type(tap::Report& report, ThreadPool& pool) {
  test_shape<T>(report, 2, 3, pool);
  test_shape<T>(report, 512, 4096, pool);
  test_shape<T>(report, 1, 577, pool);
}

void test_strides(tap::Report& report, ThreadPool& pool) {
  const std::vector<float> a = {1, 2, 0, 3, 4, 0};
  const std::vector<float> b = {10, 20, 30, 40};
  std::vector<float> out(8, -1);
  kernels::add_cpu({out.data(), a.data(), b.data(), kernels::DType::kF32, 2, 2, 4, 3, 2}, pool);
  const std::vector<float> want = {11, 22, -1, -1, 33, 44, -1, -1};
  report.same_bits(out.data(), want.data(), want.size(), "rows of three different strides");

  std::vector<float> in_place = {1, 2};
  const kernels::Add same = {
      in_place.data(), in_place.data(), in_place.data(), kernels::DType::kF32, 1, 2, 2, 2, 2};
  kernels::add_cpu(same, pool);
  report.ok(in_place[0] == 2 && in_place[1] == 4, "out may be an input");
}

}  // namespace

int main() {
  tap::Report report;
  ThreadPool pool(2);
  test_type<float>(report, pool);
  test_type<kernels::f16>(report, pool);
  test_type<kernels::bf16>(report, pool);
  test_strides(report, pool);
  report.throws(
      [&] {
        kernels::add_cpu({nullptr, nullptr, nullptr, kernels::DType::kQ4_0, 0, 0, 0, 0, 0}, pool);
      },
      {"add", "q4_0", "f32"}, "a block format is refused by name");
  return report.finish();
}
