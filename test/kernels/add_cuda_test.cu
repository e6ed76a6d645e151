#include "kernels/add.h"
#include "test/kernels/plain_cuda.cuh"
#include "test/reference/add.h"

namespace {

using kernels::Stream;
using testing::DeviceBuffer;
using testing::PlainType;

template <typename T>
void test_shape(tap::Report& report, Stream stream, int num_tokens, int hidden_size, int gap) {
  const int stride = hidden_size + gap;
  const std::size_t count = static_cast<std::size_t>(num_tokens) * stride;
  const auto a = testing::spiky_values<T>(count, 1);
  const auto b = testing::spiky_values<T>(count, 2);
  const DeviceBuffer<T> device_a(a), device_b(b), out(count);
  kernels::add_cuda({out.data(), device_a.data(), device_b.data(), PlainType<T>::kType, num_tokens,
                     hidden_size, stride, stride, stride},
                    stream);
  const auto got = out.download();
  std::vector<T> want(got);
  for (std::size_t i = 0; i < count; ++i) {
    if (i % stride >= static_cast<std::size_t>(hidden_size)) continue;
    // Rounded once to T, and from a value of T to its bits exactly.
    want[i] = kernels::from_float<T>(
        static_cast<float>(reference::add<T>(kernels::to_float(a[i]), kernels::to_float(b[i]))));
  }
  const auto name = testing::name_of_shape<T>({num_tokens, hidden_size});
  report.same_bits(got.data(), want.data(), count, name + ": the correctly rounded sum");
  report.ok(testing::is_untouched_between(got, hidden_size, stride), name + ": nothing else");
}

template <typename T>
void test_type(tap::Report& report, Stream stream, bool is_small) {
  test_shape<T>(report, stream, 2, 3, 0);
  test_shape<T>(report, stream, 1, 577, 0);
  test_shape<T>(report, stream, 5, 300, 7);
  if (is_small) return;
  test_shape<T>(report, stream, 512, 4096, 0);
  test_shape<T>(report, stream, 70000, 3, 1);
}

void test_edges(tap::Report& report, Stream stream) {
  const std::vector<float> values = {1, 2, HUGE_VALF};
  const DeviceBuffer<float> same(values);
  kernels::add_cuda({same.data(), same.data(), same.data(), kernels::DType::kF32, 1, 3, 3, 3, 3},
                    stream);
  report.ok(same.download() == std::vector<float>{2, 4, HUGE_VALF}, "out may be both inputs");
  kernels::add_cuda({nullptr, nullptr, nullptr, kernels::DType::kBF16, 0, 8, 8, 8, 8}, stream);
  kernels::add_cuda({nullptr, nullptr, nullptr, kernels::DType::kBF16, 8, 0, 8, 8, 8}, stream);
  report.ok(cudaDeviceSynchronize() == cudaSuccess, "no rows and no columns do nothing");
  report.throws(
      [&] {
        kernels::add_cuda({nullptr, nullptr, nullptr, kernels::DType::kQ4_0, 1, 1, 1, 1, 1},
                          stream);
      },
      {"add", "q4_0", "f32"}, "a block format is refused by name");
}

}  // namespace

int main(int argc, char** argv) {
  return testing::run_cuda_test(argc, argv, [](tap::Report& report, Stream stream, bool is_small) {
    test_type<float>(report, stream, is_small);
    test_type<kernels::f16>(report, stream, is_small);
    test_type<kernels::bf16>(report, stream, is_small);
    test_edges(report, stream);
  });
}
