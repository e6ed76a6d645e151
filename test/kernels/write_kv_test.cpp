#include "kernels/write_kv.h"

#include "test/kernels/plain_values.h"
#include "test/kernels/tap.h"

namespace {

using kernels::DType;
using kernels::ThreadPool;

constexpr int kNumBlocks = 5;
constexpr int kNumHeads = 3;
constexpr int kBlockSize = 16;

template <typename T>
void test_type(tap::Report& report, const std::string& isa, int head_dim, ThreadPool& pool) {
  const std::vector<std::int32_t> slots = {79, 0, 16, 17, 33, 5};
  const int num_tokens = static_cast<int>(slots.size());
  const int stride = 2 * kNumHeads * head_dim + 1;
  const auto rows = testing::spiky_values<float>(num_tokens * stride, 41);
  const float* k = rows.data();
  const float* v = rows.data() + kNumHeads * head_dim;
  const std::size_t count =
      static_cast<std::size_t>(kNumBlocks) * kNumHeads * kBlockSize * head_dim;
  auto k_cache = testing::poisoned<T>(count);
  auto v_cache = testing::poisoned<T>(count);
  auto want_k = k_cache;
  auto want_v = v_cache;
  kernels::write_kv_cpu(
      {k_cache.data(), v_cache.data(), testing::PlainType<T>::kType, k, v, slots.data(), num_tokens,
       kNumBlocks, kNumHeads, head_dim, kBlockSize, stride, stride},
      pool);
  for (int t = 0; t < num_tokens; ++t) {
    for (int g = 0; g < kNumHeads; ++g) {
      for (int d = 0; d < head_dim; ++d) {
        const std::size_t block = slots[t] / kBlockSize;
        const std::size_t at =
            ((block * kNumHeads + g) * kBlockSize + slots[t] % kBlockSize) * head_dim + d;
        want_k[at] = kernels::from_float<T>(k[t * stride + g * head_dim + d]);
        want_v[at] = kernels::from_float<T>(v[t * stride + g * head_dim + d]);
      }
    }
  }
  const std::string name =
      isa + " " + testing::PlainType<T>::kName + ", head_dim " + std::to_string(head_dim);
  report.same_bits(k_cache.data(), want_k.data(), count, name + ": K in its slots only");
  report.same_bits(v_cache.data(), want_v.data(), count, name + ": V in its slots only");
}

void test_refusals(tap::Report& report, ThreadPool& pool) {
  std::vector<float> cache(2 * 16 * 8, 7), row(8, 1);
  const std::int32_t slots[] = {3, 32};
  kernels::WriteKv op = {
      cache.data(), cache.data(), DType::kF32, row.data(), row.data(), slots, 2, 2, 1, 8, 16, 0, 0};
  report.throws([&] { kernels::write_kv_cpu(op, pool); }, {"slot 32", "token 1", "32 slots"},
                "a slot behind the cache is refused");
  const std::int32_t negative[] = {3, -1};
  op.slot_mapping = negative;
  report.throws([&] { kernels::write_kv_cpu(op, pool); }, {"slot -1"},
                "a negative slot is refused");
  report.ok(cache == std::vector<float>(2 * 16 * 8, 7), "and nothing has been written");
  op.cache_type = DType::kBF16;
  report.throws([&] { kernels::write_kv_cpu(op, pool); }, {"bf16", "f16 or f32"},
                "another type is refused");
}

}  // namespace

int main() {
  tap::Report report;
  ThreadPool pool(2);
  testing::for_each_isa([&](const std::string& isa, ThreadPool& pool) {
    for (const int head_dim : {8, 64, 80}) {
      test_type<float>(report, isa, head_dim, pool);
      test_type<kernels::f16>(report, isa, head_dim, pool);
    }
  });
  test_refusals(report, pool);
  return report.finish();
}
