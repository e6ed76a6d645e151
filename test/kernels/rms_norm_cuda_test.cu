#include "kernels/rms_norm.h"
#include "test/kernels/plain_cuda.cuh"
#include "test/reference/rms_norm.h"

namespace {

using kernels::Stream;
using testing::DeviceBuffer;
using testing::PlainType;

struct Shape {
  int num_tokens;
  int num_groups;
  int hidden_size;
  int gap;  // elements between two rows
};

template <typename T>
void test_shape(tap::Report& report, Stream stream, const Shape& shape) {
  const std::size_t width = static_cast<std::size_t>(shape.num_groups) * shape.hidden_size;
  const std::size_t stride = width + shape.gap;
  const auto x = testing::spiky_values<T>(shape.num_tokens * stride, 11);
  const auto weight = testing::spiky_values<T>(shape.hidden_size, 12);
  const DeviceBuffer<T> device_x(x), device_weight(weight), out(x.size());
  kernels::RmsNorm op = {out.data(),
                         device_x.data(),
                         device_weight.data(),
                         PlainType<T>::kType,
                         shape.num_tokens,
                         shape.hidden_size,
                         static_cast<std::int64_t>(stride),
                         static_cast<std::int64_t>(stride),
                         1e-5f,
                         shape.num_groups};
  kernels::rms_norm_cuda(op, stream);
  const auto out_values = out.download();
  const auto got = testing::rows_of(out_values, width, stride);
  const auto wide_x = testing::rows_of(x, width, stride);
  const auto wide_weight = testing::widened(weight);
  std::vector<double> want;
  for (std::size_t at = 0; at < wide_x.size(); at += shape.hidden_size) {
    const auto row =
        reference::rms_norm<T>(&wide_x[at], wide_weight.data(), shape.hidden_size, 1e-5f);
    want.insert(want.end(), row.begin(), row.end());
  }
  const auto name =
      testing::name_of_shape<T>({shape.num_tokens, shape.num_groups, shape.hidden_size});
  report.close(got.data(), want.data(), want.size(), PlainType<T>::kTolerance, name);
  report.ok(testing::is_untouched_between(out_values, width, stride), name + ": nothing else");

  op.out = device_x.data();
  kernels::rms_norm_cuda(op, stream);
  report.ok(testing::rows_of(device_x.download(), width, stride) == got, name + ": in place");
}

template <typename T>
void test_type(tap::Report& report, Stream stream, bool is_small) {
  test_shape<T>(report, stream, {1, 1, 4, 0});
  test_shape<T>(report, stream, {5, 1, 577, 23});
  test_shape<T>(report, stream, {7, 8, 128, 0});
  test_shape<T>(report, stream, {3, 1, 1, 0});
  if (!is_small) test_shape<T>(report, stream, {512, 1, 4096, 0});
}

void test_golden(tap::Report& report, Stream stream) {
  const DeviceBuffer<float> x(std::vector<float>{1, 2, 3, 4, 0, -1, 0.5f, 2}), out(8);
  const DeviceBuffer<float> weight(std::vector<float>{1, 0.5f, 2, 1});
  kernels::rms_norm_cuda(
      {out.data(), x.data(), weight.data(), kernels::DType::kF32, 2, 4, 4, 4, 1e-5f}, stream);
  const std::vector<float> want = {0.3651481f, 0.3651481f,  2.1908888f, 1.4605925f,
                                   0,          -0.4364341f, 0.8728682f, 1.7457364f};
  report.close(out.download().data(), want.data(), 8, 2e-7, "golden");
}

}  // namespace

int main(int argc, char** argv) {
  return testing::run_cuda_test(argc, argv, [](tap::Report& report, Stream stream, bool is_small) {
    test_golden(report, stream);
    test_type<float>(report, stream, is_small);
    test_type<kernels::f16>(report, stream, is_small);
    test_type<kernels::bf16>(report, stream, is_small);
    kernels::RmsNorm op = {nullptr, nullptr, nullptr, kernels::DType::kF32, 0, 4, 4, 4, 1e-5f};
    kernels::rms_norm_cuda(op, stream);
    report.ok(cudaDeviceSynchronize() == cudaSuccess, "no rows do nothing");
    op.num_tokens = 1 << 20;
    op.num_groups = 1 << 20;
    report.throws([&] { kernels::rms_norm_cuda(op, stream); }, {"1048576 tokens", "2147483647"},
                  "more groups than a grid has blocks are refused");
  });
}
