#include <algorithm>
#include <limits>

#include "kernels/argmax.h"
#include "test/kernels/plain_cuda.cuh"

namespace {

using kernels::Stream;
using testing::DeviceBuffer;
using testing::PlainType;

struct Result {
  std::int64_t index;
  float value;
};

template <typename T>
Result run(const std::vector<T>& values, Stream stream, std::int64_t stride = 1) {
  const DeviceBuffer<T> device_values(values), value(1);
  const DeviceBuffer<std::int64_t> index(1);
  kernels::argmax_cuda({index.data(), value.data(), device_values.data(), PlainType<T>::kType,
                        static_cast<std::int64_t>(values.size()) / stride, stride},
                       stream);
  return {index.download()[0], kernels::to_float(value.download()[0])};
}

template <typename T>
void test_type(tap::Report& report, Stream stream, bool is_small) {
  const std::string name = PlainType<T>::kName;
  for (const std::size_t count : {1u, 4u, 1025u, 4096u, 151936u}) {
    if (is_small && count > 4096) continue;
    const auto values = testing::spiky_values<T>(count, 7);
    const auto wide = testing::widened(values);
    const auto largest = std::max_element(wide.begin(), wide.end());
    const auto got = run(values, stream);
    report.equal(got.index, static_cast<std::int64_t>(largest - wide.begin()),
                 name + ": index among " + std::to_string(count));
    report.equal(static_cast<double>(got.value), *largest, name + ": value");
  }
  // Every thread, warp and pass of the block has the maximum once, and a tie behind it.
  bool all = true;
  for (std::size_t at = 0; at < 2500; at += is_small ? 311 : 31) {
    std::vector<T> values(2500, kernels::from_float<T>(-1));
    values[at] = values[2499] = values[(at + 2499) / 2] = kernels::from_float<T>(0.5f);
    all = all && run(values, stream).index == static_cast<std::int64_t>(at);
  }
  report.ok(all, name + ": the lowest of three, wherever it stands");
  const auto of = [&](std::vector<float> values) {
    std::vector<T> narrow;
    for (const float value : values) narrow.push_back(kernels::from_float<T>(value));
    return run(narrow, stream).index;
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  report.equal(of({1, 3, 3, 2}), std::int64_t{1}, name + ": lowest on ties");
  report.equal(of({-3, -1, -2}), std::int64_t{1}, name + ": all negative");
  report.equal(of({-infinity, -infinity}), std::int64_t{0}, name + ": nothing but -infinity");
  report.equal(of({-0.0f, 0.0f}), std::int64_t{0}, name + ": zeros are equal");
  report.equal(of({1, nan, infinity, nan}), std::int64_t{1}, name + ": the first NaN wins");
}

}  // namespace

int main(int argc, char** argv) {
  return testing::run_cuda_test(argc, argv, [](tap::Report& report, Stream stream, bool is_small) {
    test_type<float>(report, stream, is_small);
    test_type<kernels::f16>(report, stream, is_small);
    test_type<kernels::bf16>(report, stream, is_small);
    report.equal(run<float>({1, 90, 5, 91, 2, 92}, stream, 2).index, std::int64_t{1},
                 "a strided view");
    const DeviceBuffer<float> values(std::vector<float>{3, 8, 4});
    const DeviceBuffer<std::int64_t> index(1);
    kernels::argmax_cuda({index.data(), nullptr, values.data(), kernels::DType::kF32, 3, 1},
                         stream);
    report.equal(index.download()[0], std::int64_t{1}, "without a place for the value");
    report.throws(
        [&] {
          kernels::argmax_cuda({index.data(), nullptr, nullptr, kernels::DType::kF32, 0, 1},
                               stream);
        },
        {"argmax", "0", "at least one"}, "an empty vector is refused");
  });
}
