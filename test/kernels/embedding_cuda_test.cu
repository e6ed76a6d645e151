// Embedding rows on CUDA, with ids that stand for tokens of the step before, and gathered rows.
#include <cstring>

#include "kernels/cuda_embedding.h"
#include "test/kernels/device_buffer.cuh"
#include "test/kernels/plain_values.h"
#include "test/kernels/tap.h"

namespace {

using testing::DeviceBuffer;
using testing::PlainType;

// Whether row `row` of `got` has the bytes of row `want_row` of `table`; a negative one means
// zeros.
template <class T>
bool is_row(const std::vector<T>& got, int row, const std::vector<T>& table, int want_row,
            int size) {
  const std::vector<T> zeros(size);
  const T* want = want_row < 0 ? zeros.data() : &table[std::size_t(want_row) * size];
  return std::memcmp(&got[std::size_t(row) * size], want, size * sizeof(T)) == 0;
}

template <class T>
void test_embedding(tap::Report& report, int hidden_size) {
  const int vocab_size = 300;
  const auto weight = testing::uniform_values<T>(std::size_t(vocab_size) * hidden_size, -1, 1, 3);
  const DeviceBuffer<T> device_weight(weight);
  // The last two stand for rows 1 and 2 of the step before: token 42, and none.
  const std::vector<std::int32_t> ids = {0, 299, 7, 7, -1, -2, -3};
  const DeviceBuffer<std::int32_t> device_ids(ids);
  const DeviceBuffer<std::int32_t> previous(std::vector<std::int32_t>{123, 42, -1});
  const std::vector<int> want = {0, 299, 7, 7, 123, 42, 0};
  const int num_tokens = static_cast<int>(ids.size());
  const DeviceBuffer<T> out(std::size_t(num_tokens) * hidden_size);
  kernels::cuda_embedding({out.data(), device_ids.data(), previous.data(), device_weight.data(),
                           PlainType<T>::kType, num_tokens, hidden_size},
                          nullptr);
  const auto got = out.download();
  bool all = true;
  for (int t = 0; t < num_tokens; ++t) all = all && is_row(got, t, weight, want[t], hidden_size);
  report.ok(all, std::string(PlainType<T>::kName) + " rows of " + std::to_string(hidden_size));
}

template <class T>
void test_gather(tap::Report& report, int hidden_size) {
  const auto x = testing::uniform_values<T>(std::size_t(50) * hidden_size, -1, 1, 4);
  const DeviceBuffer<T> device_x(x);
  const std::vector<std::int32_t> tokens = {49, -1, 0, 0, 17};
  const DeviceBuffer<std::int32_t> device_tokens(tokens);
  const int num_rows = static_cast<int>(tokens.size());
  const DeviceBuffer<T> out(std::size_t(num_rows) * hidden_size);
  kernels::cuda_gather_rows({out.data(), device_x.data(), device_tokens.data(), PlainType<T>::kType,
                             num_rows, hidden_size},
                            nullptr);
  const auto got = out.download();
  bool all = true;
  for (int r = 0; r < num_rows; ++r) all = all && is_row(got, r, x, tokens[r], hidden_size);
  report.ok(all,
            std::string(PlainType<T>::kName) + " gathered rows of " + std::to_string(hidden_size));
}

template <class T>
void test_type(tap::Report& report) {
  for (const int hidden_size : {8, 16, 576, 1536, 5120}) {
    test_embedding<T>(report, hidden_size);
    test_gather<T>(report, hidden_size);
  }
}

void test_refusals(tap::Report& report) {
  kernels::CudaEmbedding op{};
  op.type = kernels::DType::kBF16;
  op.num_tokens = 1;
  op.hidden_size = 12;
  report.throws([&] { kernels::cuda_embedding(op, nullptr); }, {"hidden_size 12", "multiple of 8"},
                "a row that is not whole vectors is refused");
  op.hidden_size = 16;
  op.type = kernels::DType::kQ8_0;
  report.throws([&] { kernels::cuda_embedding(op, nullptr); }, {"q8_0", "f32, f16 or bf16"},
                "a block format is refused");
  op.type = kernels::DType::kF32;
  op.num_tokens = 0;
  kernels::cuda_embedding(op, nullptr);
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
  return report.finish();
}
