// RMS normalisation on CUDA against the double reference, over rows and over heads.
#include <algorithm>

#include "kernels/cuda_norm.h"
#include "test/kernels/device_buffer.cuh"
#include "test/kernels/plain_values.h"
#include "test/kernels/tap.h"
#include "test/reference/rounding.h"

namespace {

using kernels::Numerics;
using testing::DeviceBuffer;
using testing::PlainType;

constexpr float kEpsilon = 1e-3f;

struct Shape {
  int num_tokens;
  int num_groups;
  int group_size;
};

template <class T>
std::vector<double> expected(const std::vector<T>& x, const std::vector<T>& weight,
                             Numerics numerics) {
  const std::size_t size = weight.size();
  std::vector<double> out(x.size());
  for (std::size_t at = 0; at < x.size(); at += size) {
    double squares = 0;
    for (std::size_t i = 0; i < size; ++i) {
      squares += double(kernels::to_float(x[at + i])) * kernels::to_float(x[at + i]);
    }
    const double scale = 1 / std::sqrt(squares / size + kEpsilon);
    for (std::size_t i = 0; i < size; ++i) {
      double value = kernels::to_float(x[at + i]) * scale;
      if (numerics == Numerics::kReference) value = reference::rounded<T>(value);
      out[at + i] = reference::rounded<T>(value * kernels::to_float(weight[i]));
    }
  }
  return out;
}

// Rows lie `padding` elements apart, in x and in out.
template <class T>
std::vector<T> with_padding(const std::vector<T>& rows, int num_rows, int padding) {
  const std::size_t size = rows.size() / num_rows;
  auto padded = testing::poisoned<T>(rows.size() + std::size_t(num_rows) * padding);
  for (int r = 0; r < num_rows; ++r) {
    std::copy_n(&rows[r * size], size, &padded[r * (size + padding)]);
  }
  return padded;
}

template <class T>
void test_shape(tap::Report& report, const Shape& shape, Numerics numerics, bool in_place) {
  const int padding = 16;
  const int row_size = shape.num_groups * shape.group_size;
  const auto x = testing::spiky_values<T>(std::size_t(shape.num_tokens) * row_size, 31);
  const auto weight = testing::spiky_values<T>(shape.group_size, 32);
  const DeviceBuffer<T> device_x(with_padding(x, shape.num_tokens, padding));
  const DeviceBuffer<T> device_weight(weight);
  const DeviceBuffer<T> other(device_x.size());
  const DeviceBuffer<T>& out = in_place ? device_x : other;
  kernels::CudaNorm op{};
  op.out = out.data();
  op.x = device_x.data();
  op.weight = device_weight.data();
  op.epsilon = kEpsilon;
  op.type = PlainType<T>::kType;
  op.numerics = numerics;
  op.num_tokens = shape.num_tokens;
  op.num_groups = shape.num_groups;
  op.group_size = shape.group_size;
  op.x_stride = op.out_stride = row_size + padding;
  kernels::cuda_norm(op, nullptr);

  const std::vector<T> got = out.download();
  std::vector<double> rows;
  bool has_poison = true;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double value = kernels::to_float(got[i]);
    if (int(i % (row_size + padding)) < row_size) {
      rows.push_back(value);
    } else {
      has_poison = has_poison && std::isnan(value);
    }
  }
  const auto want = expected(x, weight, numerics);
  const std::string name = std::string(PlainType<T>::kName) + " " +
                           (numerics == Numerics::kFast ? "fast" : "reference") + " (" +
                           std::to_string(shape.num_tokens) + ", " +
                           std::to_string(shape.num_groups) + " x " +
                           std::to_string(shape.group_size) + ")" + (in_place ? " in place" : "");
  report.close(rows.data(), want.data(), want.size(), PlainType<T>::kTolerance, name);
  if (!has_poison) report.ok(false, name + ": wrote beside its rows");
}

template <class T>
void test_type(tap::Report& report) {
  const Shape shapes[] = {{1, 1, 8},     {1, 1, 1536}, {5, 1, 576}, {512, 1, 4096}, {3, 1, 8960},
                          {2, 1, 20000}, {7, 16, 128}, {9, 3, 64},  {2, 2, 512},    {3, 5, 520}};
  for (const Shape& shape : shapes) {
    test_shape<T>(report, shape, Numerics::kReference, false);
    test_shape<T>(report, shape, Numerics::kFast, shape.num_tokens % 2 == 1);
  }
}

// A row's bits do not depend on how many rows there are.
void test_rows_alone(tap::Report& report) {
  using kernels::bf16;
  const auto x = testing::spiky_values<bf16>(64 * 1536, 5);
  const DeviceBuffer<bf16> device_x(x);
  const DeviceBuffer<bf16> weight(testing::spiky_values<bf16>(1536, 6));
  const DeviceBuffer<bf16> out(x.size());
  kernels::CudaNorm op{out.data(),
                       device_x.data(),
                       weight.data(),
                       kEpsilon,
                       kernels::DType::kBF16,
                       Numerics::kFast,
                       64,
                       1,
                       1536,
                       1536,
                       1536};
  kernels::cuda_norm(op, nullptr);
  const auto together = out.download();
  op.num_tokens = 1;
  op.x = device_x.data() + 63 * 1536;
  kernels::cuda_norm(op, nullptr);
  const auto alone = out.download();
  report.same_bits(alone.data(), &together[63 * 1536], 1536, "a row alone and among 64");
}

void test_refusals(tap::Report& report) {
  kernels::CudaNorm op{};
  op.type = kernels::DType::kF16;
  op.num_tokens = op.num_groups = 1;
  op.group_size = 12;
  report.throws([&] { kernels::cuda_norm(op, nullptr); }, {"group_size 12", "multiple of 8"},
                "a group that is not whole packs is refused");
  op.group_size = 16;
  op.num_tokens = 0;
  kernels::cuda_norm(op, nullptr);
  report.ok(cudaGetLastError() == cudaSuccess, "no tokens, nothing done");
}

}  // namespace

int main() {
  if (!testing::has_device()) return 0;
  tap::Report report;
  test_refusals(report);
  test_type<float>(report);
  test_type<kernels::f16>(report);
  test_type<kernels::bf16>(report);
  const Shape odd{3, 2, 77};
  test_shape<float>(report, odd, Numerics::kFast, false);
  test_rows_alone(report);
  return report.finish();
}
