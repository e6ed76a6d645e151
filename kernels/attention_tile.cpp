#include "kernels/attention_tile.h"

#include <algorithm>

#include "kernels/vector_kernels.h"

namespace kernels {
namespace {

constexpr int kTargetRows = 64;

// Keeps every part of the scratch on its own cache lines.
std::size_t aligned(std::size_t num_floats) { return (num_floats + 15) / 16 * 16; }

}  // namespace

int tokens_per_attention_tile(int rows_per_token) {
  return std::max(1, kTargetRows / rows_per_token);
}

std::size_t attention_state_floats(int num_rows, int value_dim) {
  const std::size_t rows = num_rows;
  return rows * padded_width(value_dim) + 2 * aligned(rows);
}

AttentionState cut_attention_state(float* memory, int num_rows, int value_dim) {
  const std::size_t rows = num_rows;
  float* maxima = memory + rows * padded_width(value_dim);
  return {memory, maxima, maxima + aligned(rows)};
}

std::size_t attention_scratch_floats(int num_rows, int head_dim, int value_dim) {
  const std::size_t rows = num_rows;
  return aligned(rows * head_dim) + std::size_t{kSpanKeys} * padded_width(head_dim) +
         std::size_t{kSpanKeys} * padded_width(value_dim) +
         2 * attention_state_floats(num_rows, value_dim);
}

AttentionScratch cut_attention_scratch(float* memory, int num_rows, int head_dim, int value_dim) {
  AttentionScratch scratch{};
  scratch.q = memory;
  memory += aligned(static_cast<std::size_t>(num_rows) * head_dim);
  scratch.key_span = memory;
  memory += std::size_t{kSpanKeys} * padded_width(head_dim);
  scratch.value_span = memory;
  memory += std::size_t{kSpanKeys} * padded_width(value_dim);
  scratch.total = cut_attention_state(memory, num_rows, value_dim);
  memory += attention_state_floats(num_rows, value_dim);
  scratch.chunk = cut_attention_state(memory, num_rows, value_dim);
  return scratch;
}

void attend_tile(const VectorKernels& vector, const AttentionTile& tile,
                 const AttentionScratch& scratch) {
  const int num_keys = row_limit(tile, tile.num_rows - 1);
  vector.attend_chunk(tile, 0, scratch.total);
  for (int begin = kChunkKeys; begin < num_keys; begin += kChunkKeys) {
    vector.attend_chunk(tile, begin, scratch.chunk);
    vector.merge_chunk(tile, begin, scratch.chunk, scratch.total);
  }
}

}  // namespace kernels
