#include "kernels/rope.h"
#include "test/kernels/plain_cuda.cuh"
#include "test/reference/rope.h"

namespace {

using kernels::Stream;
using testing::DeviceBuffer;
using testing::PlainType;

struct Shape {
  int num_tokens;
  int num_heads;
  int head_dim;
  int gap;  // elements between two tokens
  int first_position;
};

template <typename T>
void test_shape(tap::Report& report, Stream stream, const Shape& shape) {
  const std::size_t width = static_cast<std::size_t>(shape.num_heads) * shape.head_dim;
  const std::size_t stride = width + shape.gap;
  const auto x = testing::uniform_values<T>(shape.num_tokens * stride, -1, 1, 31);
  std::vector<std::int64_t> positions(shape.num_tokens);
  for (int t = 0; t < shape.num_tokens; ++t) positions[t] = shape.first_position + t;
  const DeviceBuffer<T> device_x(x), out(x.size());
  const DeviceBuffer<std::int64_t> device_positions(positions);
  kernels::Rope op = {out.data(),
                      device_x.data(),
                      device_positions.data(),
                      PlainType<T>::kType,
                      shape.num_tokens,
                      shape.num_heads,
                      shape.head_dim,
                      1e4f,
                      static_cast<std::int64_t>(stride),
                      static_cast<std::int64_t>(stride)};
  kernels::rope_cuda(op, stream);
  const auto out_values = out.download();
  const auto got = testing::rows_of(out_values, width, stride);
  const auto wide = testing::rows_of(x, width, stride);
  std::vector<double> want;
  for (int t = 0; t < shape.num_tokens; ++t) {
    for (int h = 0; h < shape.num_heads; ++h) {
      const auto head = reference::rope<T>(&wide[t * width + h * shape.head_dim], shape.head_dim,
                                           positions[t], 1e4f);
      want.insert(want.end(), head.begin(), head.end());
    }
  }
  const bool is_float = PlainType<T>::kType == kernels::DType::kF32;
  const auto name = testing::name_of_shape<T>({shape.num_tokens, shape.num_heads, shape.head_dim}) +
                    " from " + std::to_string(shape.first_position);
  report.close(got.data(), want.data(), want.size(), is_float ? 1e-4 : PlainType<T>::kTolerance,
               name);
  report.ok(testing::is_untouched_between(out_values, width, stride), name + ": nothing else");

  op.out = device_x.data();
  kernels::rope_cuda(op, stream);
  report.ok(testing::rows_of(device_x.download(), width, stride) == got, name + ": in place");
}

template <typename T>
void test_type(tap::Report& report, Stream stream, bool is_small) {
  test_shape<T>(report, stream, {2, 1, 4, 0, 0});
  test_shape<T>(report, stream, {5, 3, 2, 5, 9});
  test_shape<T>(report, stream, {9, 2, 80, 3, 1000});
  if (is_small) return;
  test_shape<T>(report, stream, {1, 12, 128, 0, 131071});
  test_shape<T>(report, stream, {300, 12, 128, 512, 32500});
  test_shape<T>(report, stream, {512, 4, 4096, 0, 512});
}

void test_golden(tap::Report& report, Stream stream) {
  const DeviceBuffer<float> x(std::vector<float>{1, 2, 3, 4, 0.5f, -1, 2, 0}), out(8);
  const DeviceBuffer<std::int64_t> positions(std::vector<std::int64_t>{5, 7});
  kernels::rope_cuda(
      {out.data(), x.data(), positions.data(), kernels::DType::kF32, 2, 1, 4, 1e4f, 4, 4}, stream);
  const std::vector<float> want = {3.160435f,   1.7975838f, -0.1079377f, 4.0949594f,
                                   -0.9370221f, -0.997551f, 1.8362978f,  -0.0699428f};
  report.close(out.download().data(), want.data(), 8, 2e-7, "golden");
}

}  // namespace

int main(int argc, char** argv) {
  return testing::run_cuda_test(argc, argv, [](tap::Report& report, Stream stream, bool is_small) {
    test_golden(report, stream);
    test_type<float>(report, stream, is_small);
    test_type<kernels::f16>(report, stream, is_small);
    test_type<kernels::bf16>(report, stream, is_small);
    kernels::Rope op = {nullptr, nullptr, nullptr, kernels::DType::kF32, 0, 1, 4, 1e4f, 4, 4};
    kernels::rope_cuda(op, stream);
    report.ok(cudaDeviceSynchronize() == cudaSuccess, "no tokens do nothing");
    op.head_dim = 7;
    report.throws([&] { kernels::rope_cuda(op, stream); }, {"rope", "7", "even"},
                  "an odd head_dim is refused");
  });
}
