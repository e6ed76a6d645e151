#include "kernels/embedding.h"

#include "test/kernels/plain_values.h"
#include "test/kernels/random_weights.h"
#include "test/kernels/tap.h"
#include "test/reference/dequantize.h"

namespace {

using kernels::ThreadPool;
using testing::PlainType;

template <typename T>
void test_type(tap::Report& report, int num_tokens, int vocab_size, int hidden_size,
               ThreadPool& pool) {
  const auto weight =
      testing::spiky_values<T>(static_cast<std::size_t>(vocab_size) * hidden_size, 3);
  std::vector<std::int64_t> index(num_tokens);
  std::vector<T> want;
  for (int t = 0; t < num_tokens; ++t) {
    index[t] = (t * 37 + vocab_size - 1) % vocab_size;
    const auto row = weight.begin() + index[t] * hidden_size;
    want.insert(want.end(), row, row + hidden_size);
  }
  auto out = testing::poisoned<T>(want.size());
  kernels::embedding_cpu({out.data(), index.data(), weight.data(), PlainType<T>::kType, num_tokens,
                          vocab_size, hidden_size, hidden_size, hidden_size},
                         pool);
  report.same_bits(out.data(), want.data(), want.size(),
                   std::string(PlainType<T>::kName) + ": " + std::to_string(num_tokens) +
                       " rows of " + std::to_string(hidden_size));
}

void test_bad_index(tap::Report& report, ThreadPool& pool) {
  const std::vector<float> weight(6, 1);
  std::vector<float> out(6, -1);
  for (const std::int64_t bad : {std::int64_t{3}, std::int64_t{-1}, std::int64_t{1} << 40}) {
    const std::vector<std::int64_t> index = {0, bad};
    report.throws(
        [&] {
          kernels::embedding_cpu(
              {out.data(), index.data(), weight.data(), kernels::DType::kF32, 2, 3, 2, 2, 2}, pool);
        },
        {std::to_string(bad).c_str(), "position 1", "3 rows"},
        "index " + std::to_string(bad) + " is refused");
  }
  report.ok(out == std::vector<float>(6, -1), "and nothing has been written");
}

void test_packed(tap::Report& report, kernels::DType type, ThreadPool& pool) {
  const int vocab_size = 37, hidden_size = 512;
  const auto rows = testing::random_rows(type, vocab_size, hidden_size, 5);
  std::vector<std::uint8_t> packed(kernels::packed_bytes(type, vocab_size, hidden_size) + 64);
  void* aligned = packed.data() + 64 - reinterpret_cast<std::uintptr_t>(packed.data()) % 64;
  kernels::pack_weight(type, rows.data(), vocab_size, hidden_size, aligned);
  const std::vector<std::int32_t> token_ids = {0, 36, 17, 17, 1};
  const int stride = hidden_size + 3;
  auto out = testing::poisoned<float>(token_ids.size() * stride);
  kernels::TokenEmbedding op = {out.data(),
                                token_ids.data(),
                                {aligned, type, vocab_size, hidden_size},
                                static_cast<int>(token_ids.size()),
                                stride};
  kernels::token_embedding_cpu(op, pool);
  bool same = true;
  const std::size_t row_bytes = kernels::row_bytes(type, hidden_size);
  for (std::size_t t = 0; t < token_ids.size(); ++t) {
    for (int k = 0; k < hidden_size; ++k) {
      const double want = reference::element(type, &rows[token_ids[t] * row_bytes], k);
      same = same && std::fabs(out[t * stride + k] - want) <= 1e-6 * std::fabs(want) + 1e-9;
    }
    same = same && std::isnan(out[t * stride + hidden_size]);
  }
  report.ok(same, std::string("packed ") + kernels::name_of(type));

  const std::vector<std::int32_t> outside = {0, 37};
  op.token_ids = outside.data();
  op.num_tokens = 2;
  report.throws([&] { kernels::token_embedding_cpu(op, pool); }, {"37", "37 rows"},
                std::string("packed ") + kernels::name_of(type) + ": a bad id is refused");
}

}  // namespace

int main() {
  tap::Report report;
  ThreadPool pool(2);
  test_type<float>(report, 1, 2, 3, pool);
  test_type<float>(report, 50, 512, 4096, pool);
  test_type<kernels::f16>(report, 50, 512, 4096, pool);
  test_type<kernels::bf16>(report, 50, 512, 4096, pool);
  test_bad_index(report, pool);
  for (const kernels::DType type : testing::kAllTypes) test_packed(report, type, pool);
  return report.finish();
}
