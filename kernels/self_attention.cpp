#include "kernels/self_attention.h"

#include <algorithm>
#include <string>

#include "kernels/attention_tile.h"
#include "kernels/plain_type.h"
#include "kernels/vector_kernels.h"

namespace kernels {
namespace {

std::string sizes(const SelfAttention& op) {
  return "query_len " + std::to_string(op.query_len) + ", kv_len " + std::to_string(op.kv_len) +
         ", num_heads " + std::to_string(op.num_heads) + ", num_kv_heads " +
         std::to_string(op.num_kv_heads) + ", head_dim " + std::to_string(op.head_dim) +
         ", value_dim " + std::to_string(op.value_dim);
}

int rows_per_tile(const SelfAttention& op) {
  const int group = op.num_heads / op.num_kv_heads;
  return tokens_per_attention_tile(group) * group;
}

// Query tokens [first, first + num_tokens) of one KV head.
template <typename T>
void attend_tokens(const SelfAttention& op, int kv_head, int first, int num_tokens,
                   const VectorKernels& vector, const AttentionScratch& scratch) {
  const int group = op.num_heads / op.num_kv_heads;
  const std::int64_t head = static_cast<std::int64_t>(kv_head) * group;
  for (int t = 0; t < num_tokens; ++t) {
    const T* q = static_cast<const T*>(op.q) + (first + t) * op.q_stride + head * op.head_dim;
    float* to = scratch.q + static_cast<std::int64_t>(t) * group * op.head_dim;
    for (int i = 0; i < group * op.head_dim; ++i) to[i] = to_float(q[i]);
  }
  AttentionTile tile{};
  tile.keys = {static_cast<const T*>(op.k) + static_cast<std::int64_t>(kv_head) * op.head_dim,
               static_cast<const T*>(op.v) + static_cast<std::int64_t>(kv_head) * op.value_dim,
               op.type,
               nullptr,
               kBlockKeys * op.k_stride,
               kBlockKeys * op.v_stride,
               op.k_stride,
               op.v_stride};
  tile.q = scratch.q;
  tile.num_rows = num_tokens * group;
  tile.rows_per_token = group;
  tile.first_limit = op.kv_len - op.query_len + first + 1;
  tile.head_dim = op.head_dim;
  tile.value_dim = op.value_dim;
  tile.scale = op.scale;
  tile.key_span = scratch.key_span;
  tile.value_span = scratch.value_span;
  attend_tile(vector, tile, scratch);

  const int width = padded_width(op.value_dim);
  for (int r = 0; r < tile.num_rows; ++r) {
    const float inverse = 1 / scratch.total.sums[r];
    const float* from = scratch.total.out + static_cast<std::int64_t>(r) * width;
    T* out = static_cast<T*>(op.out) + (first + r / group) * op.out_stride +
             (head + r % group) * op.value_dim;
    for (int i = 0; i < op.value_dim; ++i) out[i] = from_float<T>(from[i] * inverse);
  }
}

}  // namespace

void check_self_attention(const SelfAttention& op) {
  CHECK(op.query_len >= 0 && op.kv_len >= op.query_len,
        "self_attention: the queries are the newest tokens, so kv_len must be at least query_len "
        "(" +
            sizes(op) + ")");
  CHECK(op.num_kv_heads > 0 && op.num_heads > 0 && op.num_heads % op.num_kv_heads == 0,
        "self_attention: num_heads must be a multiple of num_kv_heads (" + sizes(op) + ")");
  CHECK(op.head_dim > 0 && op.head_dim <= kMaxHeadDim && op.value_dim > 0 &&
            op.value_dim <= kMaxHeadDim,
        "self_attention: head_dim and value_dim must be 1 to 256 (" + sizes(op) + ")");
}

std::size_t self_attention_scratch_bytes(const SelfAttention& op, int num_threads) {
  check_self_attention(op);
  return num_threads * sizeof(float) *
         attention_scratch_floats(rows_per_tile(op), op.head_dim, op.value_dim);
}

void self_attention_cpu(const SelfAttention& op, ThreadPool& pool) {
  check_self_attention(op);
  with_plain_type(op.type, "self_attention", [&](auto zero) {
    using T = decltype(zero);
    const VectorKernels& vector = vector_kernels(pool.isa());
    const int num_rows = rows_per_tile(op);
    const int tile_tokens = num_rows / (op.num_heads / op.num_kv_heads);
    const int num_tiles = (op.query_len + tile_tokens - 1) / tile_tokens;
    const std::size_t floats = attention_scratch_floats(num_rows, op.head_dim, op.value_dim);
    pool.parallel_for(num_tiles * op.num_kv_heads, 1, [&](int begin, int end, int thread) {
      const AttentionScratch scratch = cut_attention_scratch(
          static_cast<float*>(op.scratch) + thread * floats, num_rows, op.head_dim, op.value_dim);
      for (int task = begin; task < end; ++task) {
        const int first = task / op.num_kv_heads * tile_tokens;
        attend_tokens<T>(op, task % op.num_kv_heads, first,
                         std::min(tile_tokens, op.query_len - first), vector, scratch);
      }
    });
  });
}

}  // namespace kernels
