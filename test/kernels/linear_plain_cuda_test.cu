#include <thread>

#include "kernels/linear_plain.h"
#include "test/kernels/plain_cuda.cuh"
#include "test/reference/linear.h"
#include "test/reference/rounding.h"

namespace {

using kernels::Stream;
using testing::DeviceBuffer;
using testing::PlainType;

struct Shape {
  int num_tokens;
  int in_features;
  int out_features;
  bool has_bias;
  // Inputs are uniform in [low, 1), times 0.1 for x and 0.01 for the weight.
  float low;
};

// The reference on as many threads as there are cores: the largest shape is 8.6 G products.
template <typename T>
std::vector<double> reference_of(const Shape& shape, const std::vector<double>& x,
                                 const std::vector<double>& weight, const double* bias) {
  std::vector<double> want(static_cast<std::size_t>(shape.num_tokens) * shape.out_features);
  const int num_threads = static_cast<int>(std::thread::hardware_concurrency());
  const auto work = [&](int first) {
    for (int t = first; t < shape.num_tokens; t += num_threads) {
      const auto row =
          reference::linear(&x[static_cast<std::size_t>(t) * shape.in_features], weight.data(),
                            bias, 1, shape.in_features, shape.out_features);
      for (int o = 0; o < shape.out_features; ++o) {
        want[static_cast<std::size_t>(t) * shape.out_features + o] = reference::rounded<T>(row[o]);
      }
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < num_threads; ++i) threads.emplace_back(work, i);
  for (std::thread& thread : threads) thread.join();
  return want;
}

template <typename T>
void test_shape(tap::Report& report, Stream stream, const Shape& shape) {
  const std::size_t x_count = static_cast<std::size_t>(shape.num_tokens) * shape.in_features;
  const std::size_t w_count = static_cast<std::size_t>(shape.out_features) * shape.in_features;
  const auto x = testing::uniform_values<T>(x_count, shape.low * 0.1f, 0.1f, 1);
  const auto weight = testing::uniform_values<T>(w_count, shape.low * 0.01f, 0.01f, 2);
  const auto bias = testing::uniform_values<T>(shape.out_features, shape.low, 1, 3);
  const DeviceBuffer<T> device_x(x), device_weight(weight), device_bias(bias);
  const DeviceBuffer<T> out(static_cast<std::size_t>(shape.num_tokens) * shape.out_features);
  kernels::linear_plain_cuda({out.data(), device_x.data(), device_weight.data(),
                              shape.has_bias ? device_bias.data() : nullptr, PlainType<T>::kType,
                              shape.num_tokens, shape.in_features, shape.out_features},
                             stream);
  const auto got = testing::widened(out.download());
  const auto wide_bias = testing::widened(bias);
  const auto want = reference_of<T>(shape, testing::widened(x), testing::widened(weight),
                                    shape.has_bias ? wide_bias.data() : nullptr);
  report.close(
      got.data(), want.data(), got.size(), PlainType<T>::kTolerance,
      testing::name_of_shape<T>({shape.num_tokens, shape.in_features, shape.out_features}) +
          (shape.has_bias ? "" : ", no bias"));
}

template <typename T>
void test_type(tap::Report& report, Stream stream, bool is_small) {
  test_shape<T>(report, stream, {2, 4, 3, true, 0});
  test_shape<T>(report, stream, {2, 4, 3, false, 0});
  test_shape<T>(report, stream, {1, 100, 33, true, -1});
  test_shape<T>(report, stream, {13, 1, 1, false, -1});
  test_shape<T>(report, stream, {8, 523, 50, true, -1});
  test_shape<T>(report, stream, {9, 523, 50, true, -1});
  test_shape<T>(report, stream, {130, 77, 65, false, -1});
  test_shape<T>(report, stream, {64, 16, 64, true, -1});
  if (is_small) return;
  test_shape<T>(report, stream, {1, 8960, 1536, false, -1});
  test_shape<T>(report, stream, {5, 1536, 2051, true, -1});
  test_shape<T>(report, stream, {257, 1537, 2051, true, -1});
  test_shape<T>(report, stream, {512, 4096, 4096, true, 0});
}

// Three k, so that single products matter: TF32 would miss by 1e-3.
void test_golden(tap::Report& report, Stream stream) {
  const std::vector<double> want = {4.1, 2.9, -0.9, -0.1};
  const DeviceBuffer<float> x(std::vector<float>{1, 2, 3, 0, 1, -1});
  const DeviceBuffer<float> weight(std::vector<float>{1, 0, 1, 0.5f, 0.5f, 0.5f});
  const DeviceBuffer<float> bias(std::vector<float>{0.1f, -0.1f}), out(4);
  kernels::linear_plain_cuda(
      {out.data(), x.data(), weight.data(), bias.data(), kernels::DType::kF32, 2, 3, 2}, stream);
  report.close(out.download().data(), want.data(), 4, 1e-6, "golden");
}

void test_edges(tap::Report& report, Stream stream) {
  const DeviceBuffer<float> x(std::vector<float>{1, HUGE_VALF}), out(2);
  const DeviceBuffer<float> weight(std::vector<float>{1, 1, 1, -1});
  kernels::PlainLinear op = {out.data(), x.data(), weight.data(), nullptr, kernels::DType::kF32, 0,
                             2,          2};
  kernels::linear_plain_cuda(op, stream);
  report.ok(testing::is_untouched_between(out.download(), 0, 1), "no tokens: nothing is written");
  op.num_tokens = 1;
  kernels::linear_plain_cuda(op, stream);
  report.ok(out.download() == std::vector<float>{HUGE_VALF, -HUGE_VALF},
            "infinities keep their sign");
  op.in_features = 0;
  report.throws([&] { kernels::linear_plain_cuda(op, stream); }, {"2 x 0"},
                "empty rows are refused");
  op.in_features = 32;
  op.type = kernels::DType::kQ8_0;
  report.throws([&] { kernels::linear_plain_cuda(op, stream); }, {"q8_0", "f32"},
                "quantised weights are refused");
}

}  // namespace

int main(int argc, char** argv) {
  return testing::run_cuda_test(argc, argv, [](tap::Report& report, Stream stream, bool is_small) {
    test_golden(report, stream);
    test_edges(report, stream);
    test_type<float>(report, stream, is_small);
    test_type<kernels::f16>(report, stream, is_small);
    test_type<kernels::bf16>(report, stream, is_small);
  });
}
