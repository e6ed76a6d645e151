#include "kernels/swiglu.h"
#include "test/kernels/plain_cuda.cuh"
#include "test/reference/swiglu.h"

namespace {

using kernels::Stream;
using testing::DeviceBuffer;
using testing::PlainType;

template <typename T>
std::vector<T> run(const std::vector<T>& gate, const std::vector<T>& up, int num_tokens,
                   Stream stream) {
  const DeviceBuffer<T> device_gate(gate), device_up(up), out(gate.size());
  const int size = static_cast<int>(gate.size()) / num_tokens;
  kernels::swiglu_cuda({out.data(), device_gate.data(), device_up.data(), PlainType<T>::kType,
                        num_tokens, size, size, size, size},
                       stream);
  return out.download();
}

template <typename T>
void test_shape(tap::Report& report, Stream stream, int num_tokens, int size) {
  const std::size_t count = static_cast<std::size_t>(num_tokens) * size;
  const auto gate = testing::spiky_values<T>(count, 21);
  const auto up = testing::spiky_values<T>(count, 22);
  const auto out = run(gate, up, num_tokens, stream);
  std::vector<double> want(count);
  for (std::size_t i = 0; i < count; ++i) {
    want[i] = reference::swiglu<T>(kernels::to_float(gate[i]), kernels::to_float(up[i]));
  }
  report.close(testing::widened(out).data(), want.data(), count, PlainType<T>::kTolerance,
               testing::name_of_shape<T>({num_tokens, size}));
}

template <typename T>
void test_type(tap::Report& report, Stream stream, bool is_small) {
  test_shape<T>(report, stream, 2, 3);
  test_shape<T>(report, stream, 1, 8961);
  if (!is_small) test_shape<T>(report, stream, 512, 4096);
}

void test_golden(tap::Report& report, Stream stream) {
  const auto golden = run<float>({1, -2, 0.5f}, {2, 3, -4}, 1, stream);
  const std::vector<float> want = {1.4621172f, -0.7152175f, -1.2449187f};
  report.close(golden.data(), want.data(), 3, 1e-7, "golden");
}

void test_extremes(tap::Report& report, Stream stream) {
  const std::vector<float> gate = {0, -0.0f, 100, -100, 1e38f, -1e38f, HUGE_VALF, NAN, -88, 88};
  std::vector<float> up(gate.size(), 2);
  up[4] = up[5] = 3;  // up * gate alone would be infinite
  const auto out = run(gate, up, 1, stream);
  const std::vector<double> want = {0, 0, 200, 0, 3e38, 0, HUGE_VAL};
  report.close(out.data(), want.data(), want.size(), 1e-6, "large gates saturate");
  report.ok(std::isnan(out[7]), "NaN stays NaN");
  report.ok(out[8] <= 0 && out[8] > -1e-35f && out[9] == 176, "at the ends of exp");
}

// Gate and up side by side, as one fused linear writes them; the result over the gate.
void test_layout(tap::Report& report, Stream stream) {
  const int num_tokens = 6, size = 77;
  const auto both = testing::spiky_values<float>(num_tokens * 2 * size, 23);
  const DeviceBuffer<float> rows(both);
  kernels::swiglu_cuda({rows.data(), rows.data(), rows.data() + size, kernels::DType::kF32,
                        num_tokens, size, 2 * size, 2 * size, 2 * size},
                       stream);
  const auto got = rows.download();
  std::vector<double> want(both.begin(), both.end());
  for (int t = 0; t < num_tokens; ++t) {
    double* row = &want[t * 2 * size];
    for (int i = 0; i < size; ++i) row[i] = reference::swiglu<float>(row[i], row[size + i]);
  }
  report.close(got.data(), want.data(), got.size(), 1e-5, "in place, gate and up side by side");
  kernels::swiglu_cuda({nullptr, nullptr, nullptr, kernels::DType::kF16, 0, 8, 8, 8, 8}, stream);
  report.ok(cudaDeviceSynchronize() == cudaSuccess, "no rows do nothing");
}

}  // namespace

int main(int argc, char** argv) {
  return testing::run_cuda_test(argc, argv, [](tap::Report& report, Stream stream, bool is_small) {
    test_golden(report, stream);
    test_type<float>(report, stream, is_small);
    test_type<kernels::f16>(report, stream, is_small);
    test_type<kernels::bf16>(report, stream, is_small);
    test_extremes(report, stream);
    test_layout(report, stream);
    report.throws(
        [&] {
          kernels::swiglu_cuda({nullptr, nullptr, nullptr, kernels::DType::kQ8_0, 1, 1, 1, 1, 1},
                               stream);
        },
        {"swiglu", "q8_0", "f32"}, "a block format is refused by name");
  });
}
