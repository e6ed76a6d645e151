// The core that plain and paged attention share: a tile of query rows of one KV head against the
// keys they see.
//
// A row is one (token, head). Keys are taken at absolute positions in chunks of kChunkKeys, a chunk
// in spans of kSpanKeys. Within a chunk the softmax is online: a running maximum, sum and weighted
// sum of values, rescaled once a span; dot products run over the elements of the head in ascending
// order, weighted sums over the keys in ascending order, one fused multiply-add each. The results
// of the chunks are merged in ascending order. So the operations of a row are a function of its
// position and of the keys before it, whatever else is in the tile, and chunks may be computed by
// different threads.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/types.h"

namespace kernels {

inline constexpr int kBlockKeys = 16;   // keys that lie evenly apart: a KV block
inline constexpr int kSpanKeys = 64;    // keys unpacked at a time
inline constexpr int kChunkKeys = 512;  // keys between two merges
inline constexpr int kMaxHeadDim = 256;

// Where the keys and values of one KV head lie. Strides are in elements of `type`.
struct AttentionKeys {
  const void* k;
  const void* v;
  DType type;                  // kF32, kF16 or kBF16
  const std::int32_t* blocks;  // [keys / 16] which block holds them; null: block i is the i-th
  std::int64_t k_block_stride;
  std::int64_t v_block_stride;
  std::int64_t k_stride;  // from one key to the next within a block
  std::int64_t v_stride;
};

// What is known of each row after some keys: out is not yet divided by sums.
struct AttentionState {
  float* out;     // [num_rows, padded_width(value_dim)]
  float* maxima;  // [num_rows]
  float* sums;    // [num_rows]
};

struct AttentionTile {
  AttentionKeys keys;
  const float* q;  // [num_rows, head_dim], contiguous
  int num_rows;
  int rows_per_token;  // row r belongs to token r / rows_per_token of the tile
  int first_limit;     // keys that the first token sees; each further token sees one more
  int head_dim;
  int value_dim;
  float scale;
  float* key_span;    // scratch, [padded_width(head_dim), kSpanKeys]
  float* value_span;  // scratch, [kSpanKeys, padded_width(value_dim)]
};

inline int padded_width(int width) { return (width + 15) / 16 * 16; }

// Keys that row r sees.
inline int row_limit(const AttentionTile& tile, int row) {
  return tile.first_limit + row / tile.rows_per_token;
}

// The scratch of one thread, cut out of one piece of memory.
struct AttentionScratch {
  float* q;
  float* key_span;
  float* value_span;
  AttentionState total;
  AttentionState chunk;
};

// Floats of the scratch of a thread for tiles of up to `num_rows` rows.
std::size_t attention_scratch_floats(int num_rows, int head_dim, int value_dim);
AttentionScratch cut_attention_scratch(float* memory, int num_rows, int head_dim, int value_dim);

// Floats of an AttentionState, and one cut out of memory.
std::size_t attention_state_floats(int num_rows, int value_dim);
AttentionState cut_attention_state(float* memory, int num_rows, int value_dim);

// Computes all chunks of a tile one after the other into scratch.total.
struct VectorKernels;
void attend_tile(const VectorKernels& vector, const AttentionTile& tile,
                 const AttentionScratch& scratch);

// Query tokens of a tile: enough rows to pay for unpacking the keys, few enough for the L2 cache.
int tokens_per_attention_tile(int rows_per_token);

}  // namespace kernels
