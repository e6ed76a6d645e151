#include "kernels/argmax.h"

#include <algorithm>
#include <limits>

#include "test/kernels/plain_values.h"
#include "test/kernels/tap.h"

namespace {

using kernels::ThreadPool;
using testing::PlainType;

template <typename T>
std::int64_t index_of_max(const std::vector<T>& values, ThreadPool& pool, T* max_value = nullptr) {
  std::int64_t index = -1;
  kernels::argmax_cpu({&index, max_value, values.data(), PlainType<T>::kType,
                       static_cast<std::int64_t>(values.size()), 1},
                      pool);
  return index;
}

template <typename T>
void test_type(tap::Report& report, ThreadPool& pool) {
  const std::string name = PlainType<T>::kName;
  for (const std::size_t count : {1u, 4u, 4096u, 49152u}) {
    const auto values = testing::spiky_values<T>(count, 7);
    const auto wide = testing::widened(values);
    const auto largest = std::max_element(wide.begin(), wide.end());
    T max_value{};
    report.equal(index_of_max(values, pool, &max_value),
                 static_cast<std::int64_t>(largest - wide.begin()),
                 name + ": index among " + std::to_string(count));
    report.equal(static_cast<double>(kernels::to_float(max_value)), *largest, name + ": value");
  }
  const auto of = [](std::initializer_list<float> values) {
    std::vector<T> out;
    for (const float value : values) out.push_back(kernels::from_float<T>(value));
    return out;
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  report.equal(index_of_max(of({1, 3, 3, 2}), pool), std::int64_t{1}, name + ": lowest on ties");
  report.equal(index_of_max(of({-3, -1, -2}), pool), std::int64_t{1}, name + ": all negative");
  report.equal(index_of_max(of({-infinity, -infinity}), pool), std::int64_t{0},
               name + ": nothing but -infinity");
  report.equal(index_of_max(of({-0.0f, 0.0f}), pool), std::int64_t{0}, name + ": zeros are equal");
  report.equal(index_of_max(of({1, nan, infinity, nan}), pool), std::int64_t{1},
               name + ": the first NaN beats everything");
}

}  // namespace

int main() {
  tap::Report report;
  ThreadPool pool(1);
  test_type<float>(report, pool);
  test_type<kernels::f16>(report, pool);
  test_type<kernels::bf16>(report, pool);

  const std::vector<float> columns = {1, 90, 5, 91, 2, 92};
  std::int64_t index = -1;
  kernels::argmax_cpu({&index, nullptr, columns.data(), kernels::DType::kF32, 3, 2}, pool);
  report.equal(index, std::int64_t{1}, "a strided view");
  report.throws(
      [&] {
        kernels::argmax_cpu({&index, nullptr, nullptr, kernels::DType::kF32, 0, 1}, pool);
      },
      {"argmax", "0", "at least one"}, "an empty vector is refused");
  return report.finish();
}
