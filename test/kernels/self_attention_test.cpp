#include "kernels/self_attention.h"

#include <memory>

#include "test/kernels/plain_values.h"
#include "test/kernels/tap.h"
#include "test/reference/attention.h"

namespace {

using kernels::ThreadPool;
using reference::AttentionShape;
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
         const void* q, const void* k, const void* v, float scale, ThreadPool& pool) {
  kernels::SelfAttention op = {out,
                               q,
                               k,
                               v,
                               type,
                               shape.query_len,
                               shape.kv_len,
                               shape.num_heads,
                               shape.num_kv_heads,
                               shape.head_dim,
                               shape.value_dim,
                               scale,
                               strides.out,
                               strides.q,
                               strides.k,
                               strides.v,
                               nullptr};
  const std::size_t bytes = kernels::self_attention_scratch_bytes(op, pool.num_threads());
  // NaN everywhere: an operator that reads what it has not written shows it.
  std::vector<float> scratch(bytes / sizeof(float) + 16, NAN);
  const auto address = reinterpret_cast<std::uintptr_t>(scratch.data());
  op.scratch = scratch.data() + (64 - address % 64) % 64 / sizeof(float);
  kernels::self_attention_cpu(op, pool);
}

template <typename T>
void test_shape(tap::Report& report, const std::string& isa, const AttentionShape& shape,
                ThreadPool& pool) {
  const Strides strides = contiguous(shape);
  const auto q = testing::uniform_values<T>(shape.query_len * strides.q, -1, 1, 51);
  const auto k = testing::uniform_values<T>(shape.kv_len * strides.k, -1, 1, 52);
  const auto v = testing::uniform_values<T>(shape.kv_len * strides.v, -1, 1, 53);
  auto out = testing::poisoned<T>(shape.query_len * strides.out);
  const float scale = 1 / std::sqrt(static_cast<float>(shape.head_dim));
  run(shape, strides, PlainType<T>::kType, out.data(), q.data(), k.data(), v.data(), scale, pool);
  const auto want = reference::attention<T>(shape, testing::widened(q), testing::widened(k),
                                            testing::widened(v), scale);
  report.close(testing::widened(out).data(), want.data(), want.size(), PlainType<T>::kTolerance,
               isa + " " + PlainType<T>::kName + " (" + std::to_string(shape.query_len) + ", " +
                   std::to_string(shape.kv_len) + ", " + std::to_string(shape.num_heads) + ", " +
                   std::to_string(shape.num_kv_heads) + ", " + std::to_string(shape.head_dim) +
                   ", " + std::to_string(shape.value_dim) + ")");
}

void test_golden(tap::Report& report, const std::string& isa, ThreadPool& pool) {
  const std::vector<float> q = {1, 0, 0, 1, 1, 1, 0.5f, -0.5f}, k = {1, 0, 0, 1, 1, 1};
  const std::vector<float> v = {1, 2, 3, 4, 5, 6};
  std::vector<float> out(8);
  const AttentionShape shape = {2, 3, 2, 1, 2, 2};
  run(shape, contiguous(shape), kernels::DType::kF32, out.data(), q.data(), k.data(), v.data(),
      1 / std::sqrt(2.0f), pool);
  const std::vector<float> want = {1.6604769f, 2.6604769f, 2.3395231f, 3.3395231f,
                                   3.5104695f, 4.5104695f, 2.7286774f, 3.7286774f};
  report.close(out.data(), want.data(), 8, 3e-7, isa + " golden");
}

// K and V as slices of a larger buffer, large scores, and an infinity that only later queries see.
void test_views(tap::Report& report, const std::string& isa, ThreadPool& pool) {
  const AttentionShape shape = {9, 75, 12, 2, 64, 64};
  Strides strides = contiguous(shape);
  const auto q = testing::spiky_values<float>(shape.query_len * strides.q, 54);
  const auto kv = testing::spiky_values<float>(shape.kv_len * 3 * strides.k, 55);
  std::vector<double> wide_k, wide_v;
  for (int j = 0; j < shape.kv_len; ++j) {
    const auto row = kv.begin() + j * 3 * strides.k;
    wide_k.insert(wide_k.end(), row, row + strides.k);
    wide_v.insert(wide_v.end(), row + strides.k, row + 2 * strides.k);
  }
  strides.k = strides.v = 3 * strides.k;
  strides.out += 7;
  auto out = testing::poisoned<float>(shape.query_len * strides.out);
  run(shape, strides, kernels::DType::kF32, out.data(), q.data(), kv.data(),
      kv.data() + strides.k / 3, 0.125f, pool);
  const auto want = reference::attention<float>(shape, testing::widened(q), wide_k, wide_v, 0.125);
  std::vector<float> got;
  bool untouched = true;
  for (int i = 0; i < shape.query_len; ++i) {
    const auto row = out.begin() + i * strides.out;
    got.insert(got.end(), row, row + strides.out - 7);
    for (int x = 1; x <= 7; ++x) untouched = untouched && std::isnan(row[strides.out - x]);
  }
  report.close(got.data(), want.data(), want.size(), 5e-5, isa + " sliced KV, ratio 6, outliers");
  report.ok(untouched, isa + " nothing between the rows is written");

  auto poisoned_kv = kv;
  const int last = shape.kv_len - 1;
  for (int x = 0; x < strides.k; ++x) poisoned_kv[last * strides.k + x] = x % 2 ? HUGE_VALF : NAN;
  std::vector<float> again(out.size(), NAN);
  run(shape, strides, kernels::DType::kF32, again.data(), q.data(), poisoned_kv.data(),
      poisoned_kv.data() + strides.k / 3, 0.125f, pool);
  report.same_bits(again.data(), out.data(), (shape.query_len - 1) * strides.out - 7,
                   isa + " a key that a query does not see cannot harm it");
}

void test_refusals(tap::Report& report, ThreadPool& pool) {
  const auto refused = [&](AttentionShape shape, std::initializer_list<const char*> parts,
                           const std::string& name) {
    report.throws(
        [&] {
          run(shape, contiguous(shape), kernels::DType::kF32, nullptr, nullptr, nullptr, nullptr, 1,
              pool);
        },
        parts, name);
  };
  refused({3, 2, 1, 1, 8, 8}, {"kv_len 2", "query_len 3"}, "more queries than keys");
  refused({1, 1, 3, 2, 8, 8}, {"num_heads 3", "num_kv_heads 2"}, "a ratio that is not whole");
  refused({1, 1, 1, 1, 264, 8}, {"head_dim 264", "256"}, "a head that is too wide");
}

template <typename T>
void test_type(tap::Report& report, const std::string& isa, ThreadPool& pool) {
  for (const AttentionShape& shape :
       {AttentionShape{2, 2, 1, 1, 4, 4}, AttentionShape{5, 11, 4, 2, 8, 8},
        AttentionShape{70, 130, 3, 1, 64, 64}, AttentionShape{1, 600, 6, 1, 80, 80},
        AttentionShape{3, 513, 2, 2, 96, 40}, AttentionShape{4, 1030, 12, 2, 128, 128},
        AttentionShape{2, 66, 1, 1, 256, 33}}) {
    test_shape<T>(report, isa, shape, pool);
  }
}

}  // namespace

int main() {
  tap::Report report;
  ThreadPool pool(2);
  testing::for_each_isa([&](const std::string& isa, ThreadPool& pool) {
    test_golden(report, isa, pool);
    test_type<float>(report, isa, pool);
    test_type<kernels::f16>(report, isa, pool);
    test_type<kernels::bf16>(report, isa, pool);
    test_shape<float>(report, isa, {1, 32768, 2, 1, 64, 64}, pool);
    test_views(report, isa, pool);
  });
  test_refusals(report, pool);
  return report.finish();
}
