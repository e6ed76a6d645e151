#include "kernels/self_attention.h"
#include "test/kernels/plain_cuda.cuh"
#include "test/reference/attention.h"

namespace {

using kernels::Stream;
using reference::AttentionShape;
using testing::DeviceBuffer;
using testing::PlainType;

struct Strides {
  std::int64_t out, q, k, v;
};

Strides contiguous(const AttentionShape& shape) {
  return {std::int64_t{shape.num_heads} * shape.value_dim,
          std::int64_t{shape.num_heads} * shape.head_dim,
          std::int64_t{shape.num_kv_heads} * shape.head_dim,
          std::int64_t{shape.num_kv_heads} * shape.value_dim};
}

void run(const AttentionShape& shape, const Strides& strides, kernels::DType type, void* out,
         const void* q, const void* k, const void* v, float scale, Stream stream) {
  kernels::self_attention_cuda({out, q, k, v, type, shape.query_len, shape.kv_len, shape.num_heads,
                                shape.num_kv_heads, shape.head_dim, shape.value_dim, scale,
                                strides.out, strides.q, strides.k, strides.v, nullptr},
                               stream);
}

template <typename T>
void test_shape(tap::Report& report, Stream stream, const AttentionShape& shape) {
  const Strides strides = contiguous(shape);
  const auto q = testing::uniform_values<T>(shape.query_len * strides.q, -1, 1, 51);
  const auto k = testing::uniform_values<T>(shape.kv_len * strides.k, -1, 1, 52);
  const auto v = testing::uniform_values<T>(shape.kv_len * strides.v, -1, 1, 53);
  const DeviceBuffer<T> device_q(q), device_k(k), device_v(v), out(shape.query_len * strides.out);
  const float scale = 1 / std::sqrt(static_cast<float>(shape.head_dim));
  run(shape, strides, PlainType<T>::kType, out.data(), device_q.data(), device_k.data(),
      device_v.data(), scale, stream);
  const auto want = reference::attention<T>(shape, testing::widened(q), testing::widened(k),
                                            testing::widened(v), scale);
  report.close(testing::widened(out.download()).data(), want.data(), want.size(),
               PlainType<T>::kTolerance,
               testing::name_of_shape<T>({shape.query_len, shape.kv_len, shape.num_heads,
                                          shape.num_kv_heads, shape.head_dim, shape.value_dim}));
}

void test_golden(tap::Report& report, Stream stream) {
  const DeviceBuffer<float> q(std::vector<float>{1, 0, 0, 1, 1, 1, 0.5f, -0.5f});
  const DeviceBuffer<float> k(std::vector<float>{1, 0, 0, 1, 1, 1});
  const DeviceBuffer<float> v(std::vector<float>{1, 2, 3, 4, 5, 6}), out(8);
  const AttentionShape shape = {2, 3, 2, 1, 2, 2};
  run(shape, contiguous(shape), kernels::DType::kF32, out.data(), q.data(), k.data(), v.data(),
      1 / std::sqrt(2.0f), stream);
  const std::vector<float> want = {1.6604769f, 2.6604769f, 2.3395231f, 3.3395231f,
                                   3.5104695f, 4.5104695f, 2.7286774f, 3.7286774f};
  report.close(out.download().data(), want.data(), 8, 3e-7, "golden");
}

// K and V as slices of a larger buffer, large scores, and an infinity that only later queries see.
void test_views(tap::Report& report, Stream stream) {
  const AttentionShape shape = {9, 75, 12, 2, 64, 64};
  Strides strides = contiguous(shape);
  const std::int64_t width = strides.out;
  const auto q = testing::spiky_values<float>(shape.query_len * strides.q, 54);
  auto kv = testing::spiky_values<float>(shape.kv_len * 3 * strides.k, 55);
  std::vector<double> wide_k, wide_v;
  for (int j = 0; j < shape.kv_len; ++j) {
    const auto row = kv.begin() + j * 3 * strides.k;
    wide_k.insert(wide_k.end(), row, row + strides.k);
    wide_v.insert(wide_v.end(), row + strides.k, row + 2 * strides.k);
  }
  strides.k = strides.v = 3 * strides.k;
  strides.out += 7;
  const DeviceBuffer<float> device_q(q), device_kv(kv);
  DeviceBuffer<float> out(shape.query_len * strides.out);
  run(shape, strides, kernels::DType::kF32, out.data(), device_q.data(), device_kv.data(),
      device_kv.data() + strides.k / 3, 0.125f, stream);
  const auto first = out.download();
  const auto want = reference::attention<float>(shape, testing::widened(q), wide_k, wide_v, 0.125);
  report.close(testing::rows_of(first, width, strides.out).data(), want.data(), want.size(), 5e-5,
               "sliced KV, ratio 6, outliers");
  report.ok(testing::is_untouched_between(first, width, strides.out),
            "nothing between the rows is written");

  const int last = shape.kv_len - 1;
  for (int x = 0; x < strides.k; ++x) kv[last * strides.k + x] = x % 2 ? HUGE_VALF : NAN;
  const DeviceBuffer<float> poisoned_kv(kv);
  out.poison();
  run(shape, strides, kernels::DType::kF32, out.data(), device_q.data(), poisoned_kv.data(),
      poisoned_kv.data() + strides.k / 3, 0.125f, stream);
  const auto again = out.download();
  report.same_bits(again.data(), first.data(), (shape.query_len - 1) * strides.out,
                   "a key that a query does not see cannot harm it");
  report.ok(std::isnan(again[(shape.query_len - 1) * strides.out]), "the one that sees it says so");
}

// Whole warps see nothing but -infinity, which counts as no weight at all.
void test_infinite_scores(tap::Report& report, Stream stream) {
  const AttentionShape shape = {1, 100, 1, 1, 1, 1};
  std::vector<float> k(100, -HUGE_VALF), v(100, 7);
  k[61] = 1;
  v[61] = 3;
  const DeviceBuffer<float> q(std::vector<float>{1}), device_k(k), device_v(v), out(1);
  run(shape, contiguous(shape), kernels::DType::kF32, out.data(), q.data(), device_k.data(),
      device_v.data(), 1, stream);
  report.equal(static_cast<double>(out.download()[0]), 3.0, "one finite score among -infinity");
}

void test_refusals(tap::Report& report, Stream stream) {
  const auto refused = [&](AttentionShape shape, std::initializer_list<const char*> parts,
                           const std::string& name) {
    report.throws(
        [&] {
          run(shape, contiguous(shape), kernels::DType::kF32, nullptr, nullptr, nullptr, nullptr, 1,
              stream);
        },
        parts, name);
  };
  refused({3, 2, 1, 1, 8, 8}, {"kv_len 2", "query_len 3"}, "more queries than keys");
  refused({1, 1, 3, 2, 8, 8}, {"num_heads 3", "num_kv_heads 2"}, "a ratio that is not whole");
  refused({1, 1, 1, 1, 264, 8}, {"head_dim 264", "256"}, "a head that is too wide");
  const AttentionShape nothing = {0, 5, 1, 1, 8, 8};
  run(nothing, contiguous(nothing), kernels::DType::kF16, nullptr, nullptr, nullptr, nullptr, 1,
      stream);
  report.ok(cudaDeviceSynchronize() == cudaSuccess, "no queries do nothing");
}

template <typename T>
void test_type(tap::Report& report, Stream stream, bool is_small) {
  for (const AttentionShape& shape :
       {AttentionShape{2, 2, 1, 1, 4, 4}, AttentionShape{5, 11, 4, 2, 8, 8},
        AttentionShape{3, 51, 6, 1, 80, 33}, AttentionShape{2, 66, 1, 1, 256, 256}}) {
    test_shape<T>(report, stream, shape);
  }
  if (is_small) return;
  for (const AttentionShape& shape :
       {AttentionShape{70, 130, 3, 1, 64, 64}, AttentionShape{1, 600, 6, 1, 80, 80},
        AttentionShape{3, 513, 2, 2, 96, 40}, AttentionShape{4, 1030, 12, 2, 128, 128},
        AttentionShape{2, 66, 1, 1, 256, 33}, AttentionShape{1, 32768, 12, 2, 128, 128},
        AttentionShape{129, 1000, 12, 2, 128, 128}}) {
    test_shape<T>(report, stream, shape);
  }
}

}  // namespace

int main(int argc, char** argv) {
  return testing::run_cuda_test(argc, argv, [](tap::Report& report, Stream stream, bool is_small) {
    test_golden(report, stream);
    test_type<float>(report, stream, is_small);
    test_type<kernels::f16>(report, stream, is_small);
    test_type<kernels::bf16>(report, stream, is_small);
    test_views(report, stream);
    test_infinite_scores(report, stream);
    test_refusals(report, stream);
  });
}
