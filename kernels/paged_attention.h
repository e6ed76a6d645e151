// Causal attention of a step's tokens over one layer of the paged KV cache, prefill and decode
// alike.
//
// Sequence s has n = query_starts[s + 1] - query_starts[s] new tokens, already in the cache, and
// c = context_lens[s] tokens in all. Its new token i sees the positions p <= c - n + i:
//
//   block(p)     = block_tables[s, p / block_size]
//   score[p]     = dot(q[i, h, :], k_cache[block(p), g, p % block_size, :]) * scale
//   out[i, h, :] = sum_p softmax(score)[p] * v_cache[block(p), g, p % block_size, :]
//   g            = h / (num_heads / num_kv_heads)
//
// Everything is float but what is stored. The order of operations of one (token, head) is fixed by
// its positions alone (attention_tile.h), so its bits are the same for any batch, any cut of the
// prompt into chunks, any number of threads and any instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/thread_pool.h"
#include "kernels/types.h"

namespace kernels {

struct PagedAttention {
  float* out;           // [num_tokens, num_heads, head_dim]
  const float* q;       // [num_tokens, num_heads, head_dim]
  const void* k_cache;  // this layer's [num_blocks, num_kv_heads, block_size, head_dim]
  const void* v_cache;  // the same shape
  DType cache_type;     // kF16 or kF32
  const std::int32_t*
      block_tables;  // [num_sequences, max_blocks_per_sequence]; ids not checked here
  int max_blocks_per_sequence;
  const std::int32_t* query_starts;  // [num_sequences + 1], prefix sums of new tokens
  const std::int32_t* context_lens;  // [num_sequences], after this step
  int num_sequences;                 // 0 does nothing
  int num_heads;                     // a multiple of num_kv_heads
  int num_kv_heads;
  int head_dim;    // a multiple of 8, at most 256
  int block_size;  // 16
  float scale;
  std::int64_t out_stride;  // elements from one token to the next; heads are side by side
  std::int64_t q_stride;
  void* scratch;  // paged_attention_scratch_bytes(..), 64-byte aligned
};

// Bytes of scratch that suffice for every step of a model of this shape.
std::size_t paged_attention_scratch_bytes(int num_heads, int num_kv_heads, int head_dim,
                                          int max_context_len, int num_threads);

// Throws Error on a head_dim, block_size, head count or type outside the ranges above.
void paged_attention_cpu(const PagedAttention& op, ThreadPool& pool);

}  // namespace kernels
