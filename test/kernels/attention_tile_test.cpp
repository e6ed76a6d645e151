// The tile's scratch and the merge of chunks, which whole operators only show indirectly.
#include "kernels/attention_tile.h"

#include "kernels/vector_kernels.h"
#include "test/kernels/plain_values.h"
#include "test/kernels/tap.h"
#include "test/reference/attention.h"

namespace {

using namespace kernels;

// Every part of the scratch may be written to its full size without touching another.
void test_scratch(tap::Report& report, int num_rows, int head_dim, int value_dim) {
  const std::size_t floats = attention_scratch_floats(num_rows, head_dim, value_dim);
  std::vector<float> memory(floats + 1, 0);
  const AttentionScratch scratch =
      cut_attention_scratch(memory.data(), num_rows, head_dim, value_dim);
  const std::size_t rows = num_rows;
  const std::size_t width = padded_width(value_dim);
  struct {
    float* at;
    std::size_t size;
  } parts[] = {{scratch.q, rows * head_dim},
               {scratch.key_span, std::size_t{kSpanKeys} * padded_width(head_dim)},
               {scratch.value_span, kSpanKeys * width},
               {scratch.total.out, rows * width},
               {scratch.total.maxima, rows},
               {scratch.total.sums, rows},
               {scratch.chunk.out, rows * width},
               {scratch.chunk.maxima, rows},
               {scratch.chunk.sums, rows}};
  std::size_t written = 0;
  for (const auto& part : parts) {
    for (std::size_t i = 0; i < part.size; ++i) part.at[i] += 1;
    written += part.size;
  }
  std::size_t ones = 0;
  for (const float value : memory) ones += value == 1;
  report.ok(ones == written && memory[floats] == 0,
            "parts do not overlap: " + std::to_string(num_rows) + " rows, " +
                std::to_string(head_dim) + ", " + std::to_string(value_dim));
}

// Three chunks, rows that straddle a chunk's edge: token 0 sees 511 keys, the last one 1,026.
void test_merge(tap::Report& report, Isa isa) {
  const int num_keys = 1026, num_tokens = 516, head_dim = 16, value_dim = 24;
  const auto q = testing::uniform_values<float>(num_tokens * head_dim, -2, 2, 71);
  const auto k = testing::uniform_values<float>(num_keys * head_dim, -2, 2, 72);
  const auto v = testing::uniform_values<float>(num_keys * value_dim, -2, 2, 73);
  std::vector<float> memory(attention_scratch_floats(num_tokens, head_dim, value_dim), NAN);
  const AttentionScratch scratch =
      cut_attention_scratch(memory.data(), num_tokens, head_dim, value_dim);
  AttentionTile tile{};
  tile.keys = {k.data(),      v.data(),       DType::kF32, nullptr,
               16 * head_dim, 16 * value_dim, head_dim,    value_dim};
  tile.q = q.data();
  tile.num_rows = num_tokens;
  tile.rows_per_token = 1;
  tile.first_limit = num_keys - num_tokens + 1;
  tile.head_dim = head_dim;
  tile.value_dim = value_dim;
  tile.scale = 0.25f;
  tile.key_span = scratch.key_span;
  tile.value_span = scratch.value_span;
  attend_tile(vector_kernels(isa), tile, scratch);
  std::vector<double> got;
  for (int r = 0; r < num_tokens; ++r) {
    for (int d = 0; d < value_dim; ++d) {
      got.push_back(scratch.total.out[r * padded_width(value_dim) + d] / scratch.total.sums[r]);
    }
  }
  const auto want = reference::attention<float>({num_tokens, num_keys, 1, 1, head_dim, value_dim},
                                                testing::widened(q), testing::widened(k),
                                                testing::widened(v), 0.25);
  report.close(got.data(), want.data(), want.size(), 1e-5,
               std::string(name_of(isa)) + ": chunks merge to the whole");
}

}  // namespace

int main() {
  tap::Report report;
  test_scratch(report, 1, 8, 8);
  test_scratch(report, 63, 64, 64);
  test_scratch(report, 64, 256, 33);
  for (const Isa isa : available_isas()) test_merge(report, isa);
  report.ok(tokens_per_attention_tile(3) == 21 && tokens_per_attention_tile(71) == 1,
            "a tile has about 64 rows and at least one token");
  return report.finish();
}
